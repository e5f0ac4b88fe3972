"""Tells apps what happened: a durable outbox, and a sender that signs, posts and tries again.

Knows URLs, rows and HTTP. Does not know calls beyond the id that orders their events, nor what an
event means.
"""

from offhook.edge.webhook.counters import WebhookCounters
from offhook.edge.webhook.keys import SigningKeys, load_signing_key, prepare_next_key, switch_key
from offhook.edge.webhook.outbox import Outbox, Receipt
from offhook.edge.webhook.post import Poster, PostResult
from offhook.edge.webhook.sender import WebhookSender

__all__ = [
    "Outbox",
    "PostResult",
    "Poster",
    "Receipt",
    "SigningKeys",
    "WebhookCounters",
    "WebhookSender",
    "load_signing_key",
    "prepare_next_key",
    "switch_key",
]
