"""Session descriptions without I/O: reading, writing, and what an offer and its answer agree on.

The room knows RFC 8866 and RFC 3264 for one audio stream. It knows no SIP, no ports of its own
and no codec: codecs are names, clock rates and payload types here.
"""

from offhook.proto.sdp.description import Codec, Media, SdpError, SessionDescription
from offhook.proto.sdp.negotiation import (
    NegotiatedMedia,
    make_answer,
    make_offer,
    negotiate,
    offered_codecs,
    read_answer,
)

__all__ = [
    "SessionDescription",
    "Media",
    "Codec",
    "SdpError",
    "NegotiatedMedia",
    "negotiate",
    "make_answer",
    "make_offer",
    "read_answer",
    "offered_codecs",
]
