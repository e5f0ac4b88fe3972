"""SIP without I/O: messages, transactions, dialogs and a user agent for both roles (RFC 3261).

The room takes bytes, flows and `now`, and gives back bytes to send, events and the next deadline.
It knows no sockets, no clock, no tasks, and nothing of what a call is for: session descriptions
pass through as bytes.

`UserAgent` is the whole of it for most callers. Events of one call follow this grammar; the last
one of each row is the call's only last event, and its handle means nothing afterwards:

======================  ==========================================================================
an incoming call        ``IncomingCall``, then one of
  caller gave up        ``CallCancelled``
  we refused            ``CallRejected(by_peer=False)`` at once with `reject`, with `hangup` (603),
                        or with 480 after `ring_timeout_s`
  we accepted           ``[CallEstablished] talk* CallEnded``
  no ACK came           ``AckTimedOut CallEnded(by_peer=False)``
an outgoing call        ``CallRinging*``, then one of
  it failed             ``CallRejected``: the final status; 408 silence; 503 transport; 487 after
                        `cancel` or `hangup`
  it was accepted       ``CallAccepted talk* CallEnded``
  answer crossed CANCEL ``CallEnded(by_peer=False)``
talk                    ``OfferReceived | OfferAnswered | OfferRefused | InfoReceived |
                        InfoAnswered | ReferAnswered | ReferNotified``
======================  ==========================================================================

`hangup` of an answered call emits `CallEnded` at once; the BYE, and before it the wait for a missing
ACK (RFC 3261 §15), is finished in the background. A 401 or 407 to a call that has credentials is
answered (`digest`) and not told. Redirects (3xx is a rejection), 100rel and session timers are not
spoken; a peer that requires one gets 420.
"""

from offhook.proto.sip.events import (
    AckTimedOut,
    CallAccepted,
    CallCancelled,
    CallEnded,
    CallEstablished,
    CallHandle,
    CallRejected,
    CallRinging,
    CallStateError,
    Credentials,
    Flow,
    Headers,
    HostPort,
    IncomingCall,
    InfoAnswered,
    InfoReceived,
    OfferAnswered,
    OfferReceived,
    OfferRefused,
    OutgoingCall,
    ReferAnswered,
    ReferNotified,
    TimerSettings,
    Transmit,
    Transport,
    UserAgentConfig,
    UserAgentEvent,
)
from offhook.proto.sip.framing import PONG, Broken, Oversized, Ping, StreamFramer
from offhook.proto.sip.info import carries_key, key_of_info
from offhook.proto.sip.message import Message, Request, Response, parse_message, reason_phrase
from offhook.proto.sip.reply import is_address, plain_host, url_host
from offhook.proto.sip.user_agent import UserAgent, check_headers
from offhook.proto.sip.values import Address, SipSyntaxError, SipUri, readable

__all__ = [
    "UserAgent",
    "UserAgentConfig",
    "TimerSettings",
    "CallHandle",
    "CallStateError",
    "Flow",
    "Headers",
    "HostPort",
    "Transmit",
    "Transport",
    "OutgoingCall",
    "Credentials",
    "UserAgentEvent",
    "IncomingCall",
    "CallCancelled",
    "CallRinging",
    "CallAccepted",
    "CallEstablished",
    "AckTimedOut",
    "CallRejected",
    "CallEnded",
    "OfferReceived",
    "OfferAnswered",
    "OfferRefused",
    "InfoReceived",
    "InfoAnswered",
    "ReferAnswered",
    "ReferNotified",
    "carries_key",
    "key_of_info",
    "StreamFramer",
    "Ping",
    "PONG",
    "Oversized",
    "Broken",
    "Message",
    "Request",
    "Response",
    "parse_message",
    "reason_phrase",
    "Address",
    "SipUri",
    "SipSyntaxError",
    "readable",
    "check_headers",
    "is_address",
    "plain_host",
    "url_host",
]
