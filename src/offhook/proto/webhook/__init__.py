"""Webhooks as values: the envelope, its signature, and the schedule of attempts.

Knows bytes, headers and `now`. Does not know HTTP clients, storage, calls, or what an event means.
"""

from offhook.proto.webhook.envelope import Event, body_of, encode_event, form_of, query_of
from offhook.proto.webhook.retry import (
    Again,
    Delivered,
    GivenUp,
    NextStep,
    Progress,
    RetrySchedule,
    Verdict,
    after_attempt,
    judge_status,
    read_retry_after,
)
from offhook.proto.webhook.sign import TOLERANCE_S, WebhookSigner, public_key_text, sign

__all__ = [
    "TOLERANCE_S",
    "Again",
    "Delivered",
    "Event",
    "GivenUp",
    "NextStep",
    "Progress",
    "RetrySchedule",
    "Verdict",
    "WebhookSigner",
    "after_attempt",
    "body_of",
    "encode_event",
    "form_of",
    "judge_status",
    "public_key_text",
    "query_of",
    "read_retry_after",
    "sign",
]
