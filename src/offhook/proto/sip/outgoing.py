"""A call we make: the asking side of an INVITE (RFC 3261 §13.2)."""

from offhook.proto.sip.call import Call, Host, make_ack, readable_headers, send_bye
from offhook.proto.sip.dialog import Dialog, via_value
from offhook.proto.sip.digest import Authorizer
from offhook.proto.sip.events import (
    CallAccepted,
    CallHandle,
    CallRejected,
    CallRinging,
    CallStateError,
    Flow,
    Headers,
    OutgoingCall,
)
from offhook.proto.sip.message import Header, Request, Response, reason_phrase
from offhook.proto.sip.reply import ALLOW, SDP_TYPE, contact
from offhook.proto.sip.timers import Timer
from offhook.proto.sip.transaction import make_cancel
from offhook.proto.sip.values import SipSyntaxError, quote, readable

FORKS_MAX = 16
"""Answers of different phones to one INVITE that get an ACK; more are ignored and counted."""


_CREDENTIALS = ("Authorization", "Proxy-Authorization")
_ASKED_ANEW = ("Via", "CSeq", *_CREDENTIALS)


class OutgoingLeg(Call):
    """One INVITE of ours and the call it becomes."""

    def __init__(self, handle: CallHandle, host: Host, call: OutgoingCall, sdp: bytes, now: float) -> None:
        layer = host.layer
        local_tag = layer.new_token()
        super().__init__(handle, host, layer.new_call_id(), local_tag)
        self._invite = _make_invite(layer.new_branch(), self.key, call, sdp, self)
        self._flow = call.flow
        if call.credentials is not None:
            self.authorizer = Authorizer(call.credentials, layer.new_token())
        self._accepted = False
        self._provisional = False
        self._cancelling = False
        self._cancel_headers: Headers = ()
        self._verdict: int | None = None
        self._acks: dict[str, tuple[bytes, Flow]] = {}
        self._timer: Timer | None = layer.timers.start(now + layer.config.ring_timeout_s, self._rang_too_long)
        self._transaction = layer.invite(self._invite, call.flow, self, now)

    @property
    def established(self) -> bool:
        """Whether a 2xx came."""
        return self._accepted

    def cancel(self, now: float, headers: Headers) -> None:
        """Give up before an answer. The last event comes with the final response, 487 as a rule."""
        if self.over or self._accepted:
            raise CallStateError("the call is answered or over")
        if self._cancelling:
            return
        self._cancelling = True
        self._cancel_headers = headers
        if self._provisional:
            self._send_cancel(now)
        # Else §9.1: wait for a provisional response; without any, timer B gives the verdict.

    def hangup(self, now: float, headers: Headers) -> None:
        """CANCEL before an answer, BYE after it."""
        if self._accepted:
            self._hang_up_established(now, headers)
        else:
            self.cancel(now, headers)

    def on_response(self, response: Response, now: float) -> None:
        """Take a response to the INVITE."""
        if response.status < 200:
            self._receive_provisional(response, now)
        elif response.status < 300:
            self._receive_success(response, now)
        elif response.status in (401, 407) and self._ask_again(response, now):
            return
        else:
            words = readable(response.reason) or reason_phrase(response.status)
            self._rejected(response.status, words, True, readable_headers(response))

    def _ask_again(self, response: Response, now: float) -> bool:
        """Send the INVITE once more, with what a 401 or 407 asks for (§22.2); say whether it was sent."""
        authorizer, layer = self.authorizer, self.layer
        if (
            authorizer is None
            or self._cancelling
            or self.over
            or layer.full
            or not authorizer.learn(response)
        ):
            return False
        invite = self._invite
        number = invite.cseq.number + 1
        kept = [field for field in invite.fields if field[0] not in _ASKED_ANEW]
        fields: list[Header] = [
            ("Via", via_value(self._flow, layer.new_branch())),
            *kept[:4],
            ("CSeq", f"{number} INVITE"),
            *authorizer.headers("INVITE", invite.uri),
            *kept[4:],
        ]
        self._invite = Request("INVITE", invite.uri, fields, invite.body)
        self._provisional = False
        self.dialog = None  # an early one belonged to the request that was refused
        layer.counters["challenges_answered"] += 1
        self._transaction = layer.invite(self._invite, self._flow, self, now)
        return True

    def on_failure(self, status: int, now: float) -> None:
        """Take the verdict of silence (408) or of the transport (503)."""
        del now
        self._rejected(status, reason_phrase(status), False, ())

    def _receive_provisional(self, response: Response, now: float) -> None:
        first = not self._provisional
        self._provisional = True
        if self._cancelling:
            if first:
                self._send_cancel(now)
            return
        if response.status == 100 or self.over:
            return
        if self.dialog is None and response.to.tag:
            self.dialog = Dialog.established(self._invite, response, self._flow)
        self.layer.emit(CallRinging(self.handle, response.status, response.sdp()))

    def _receive_success(self, response: Response, now: float) -> None:
        tag = response.to.tag
        known = self._acks.get(tag)
        if known is not None:
            self.layer.send(*known)
            return
        if len(self._acks) >= FORKS_MAX:
            self.layer.counters["forked_answers_ignored"] += 1
            return
        dialog = Dialog.established(self._invite, response, self._flow)
        # §13.2.2.4: the ACK of a 2xx carries the credentials of its INVITE.
        headers = [field for field in self._invite.fields if field[0] in _CREDENTIALS]
        ack = self._acks[tag] = make_ack(self.layer, dialog, self._invite.cseq.number, headers)
        self.layer.send(*ack)
        if self._accepted or self.over:
            # §13.2.2.4: another phone answered too; it is told that nobody is there.
            send_bye(self.layer, dialog, _Ignored(), now)
            return
        self._accepted = True
        self._stop_timer()
        self.dialog = dialog
        if self._cancelling:
            # The answer crossed our CANCEL, or the verdict on a BYE in the early dialog.
            self._hang_up_established(now, self._cancel_headers)
        else:
            self.layer.emit(CallAccepted(self.handle, response.sdp(), readable_headers(response)))

    def _receive_bye(self, request: Request, flow: Flow, now: float) -> None:
        if self._accepted or self.over:
            super()._receive_bye(request, flow, now)
            return
        # A BYE before we saw the 2xx: either all of them were lost or the peer is confused.
        self.respond(request, flow, 200, now)
        if not self._cancelling:
            self.cancel(now, ())

    def _rejected(self, status: int, words: str, by_peer: bool, headers: Headers) -> None:
        self._stop_timer()
        if self.over:
            return
        if self._verdict is not None:
            status, words, by_peer = self._verdict, reason_phrase(self._verdict), False
        self.host.dialog_over(self)
        self.finish(CallRejected(self.handle, status, words, by_peer, headers))

    def _rang_too_long(self, now: float) -> None:
        self._timer = None
        self._verdict = 408
        if not self._cancelling:
            self.cancel(now, ())

    def _send_cancel(self, now: float) -> None:
        layer = self.layer
        layer.request(make_cancel(self._invite, self._cancel_headers), self._flow, _Ignored(), now)
        # §9.1: no final response within 64*T1 of the CANCEL means that there will be none.
        self._stop_timer()
        self._timer = layer.timers.start(now + layer.times.give_up_s, self._cancel_unanswered)

    def _cancel_unanswered(self, now: float) -> None:
        self._timer = None
        self._verdict = self._verdict or 487
        self._transaction.fail(487, now)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None


class _Ignored:
    """The user of a request whose fate changes nothing."""

    def on_response(self, response: Response, now: float) -> None:
        del response, now

    def on_failure(self, status: int, now: float) -> None:
        del status, now


def _make_invite(
    branch: str, key: tuple[str, str], call: OutgoingCall, sdp: bytes, leg: OutgoingLeg
) -> Request:
    call_id, local_tag = key
    config = leg.layer.config
    display = f"{quote(call.from_display)} " if call.from_display else ""
    fields: list[Header] = [
        ("Via", via_value(call.flow, branch)),
        ("Max-Forwards", "70"),
        ("From", f"{display}<{call.from_uri}>;tag={local_tag}"),
        ("To", f"<{call.to_uri or call.uri}>"),
        ("Call-ID", call_id),
        ("CSeq", "1 INVITE"),
        ("Contact", contact(config.contact_user, call.flow)),
        ("Allow", ALLOW),
        ("User-Agent", config.user_agent),
        *call.headers,
    ]
    for uri in (call.uri, call.from_uri, call.to_uri or call.uri):
        if ":" not in uri or any(c <= " " or c in '<>"\x7f' for c in uri):
            raise SipSyntaxError("uri")
    if sdp:
        fields.append(("Content-Type", SDP_TYPE))
    return Request("INVITE", call.uri, fields, sdp)
