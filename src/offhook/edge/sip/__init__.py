"""SIP on real sockets: UDP and TCP under one `offhook.proto.sip.UserAgent`.

The room moves bytes, keeps one timer and knows which of our addresses a peer can reach. It knows
no call logic and no media. TLS belongs into `streams` when certificates have a home.
"""

from offhook.edge.sip.server import Listen, OnEvent, SipServer

__all__ = ["SipServer", "Listen", "OnEvent"]
