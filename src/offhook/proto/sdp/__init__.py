"""Session descriptions without I/O: reading, writing, and what an offer and its answer agree on.

The room knows RFC 8866 and RFC 3264 for one audio stream, and the parameters of RFC 4867 (AMR-WB) and
RFC 7587 (Opus). It knows no SIP, no ports of its own and no audio: codecs are names, rates and payload
types here.
"""

from offhook.proto.sdp.codecs import CODECS, CodecParameters, is_codec
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
    "CODECS",
    "CodecParameters",
    "is_codec",
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
