"""What both kinds of call share once they have a dialog: BYE, UPDATE, re-INVITE, ACK.

INFO and REFER are in `info` and `referral`. The two kinds of call are `incoming.IncomingLeg` and
`outgoing.OutgoingLeg`; the user agent finds the call.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from offhook.proto.sip.dialog import Dialog
from offhook.proto.sip.digest import Authorizer
from offhook.proto.sip.events import (
    AckTimedOut,
    CallEnded,
    CallHandle,
    CallStateError,
    Flow,
    Headers,
    OfferAnswered,
    OfferReceived,
    OfferRefused,
    UserAgentEvent,
)
from offhook.proto.sip.info import Infos
from offhook.proto.sip.layer import ServerTransaction, TransactionLayer
from offhook.proto.sip.message import Header, Request, Response, reason_phrase
from offhook.proto.sip.referral import Referrals
from offhook.proto.sip.reply import ALLOW, contact, echoed_headers, make_response
from offhook.proto.sip.timers import Timer
from offhook.proto.sip.transaction import ClientUser
from offhook.proto.sip.values import readable

RETRY_AFTER_S_MAX = 10
"""RFC 3261 §14.2: who must ask again is told a random wait between 0 and 10 seconds."""


class Host(Protocol):
    """What a call needs of its user agent."""

    layer: TransactionLayer

    def reply(
        self, request: Request, flow: Flow, status: int, reason: str | None = None, headers: Headers = ()
    ) -> None:
        """Answer a request without keeping state."""

    def call_over(self, call: "Call") -> None:
        """Take note that the call's last event was emitted."""

    def dialog_over(self, call: "Call") -> None:
        """Forget the call's dialog."""


@dataclass(slots=True)
class PendingOffer:
    """A re-INVITE or UPDATE that the application has not answered yet."""

    request: Request
    flow: Flow
    transaction: ServerTransaction
    timer: Timer


class UnackedAnswer:
    """A 2xx of ours, repeated over every transport until its ACK comes (§13.3.1.4)."""

    def __init__(self, call: "Call", cseq: int, data: bytes, transaction: ServerTransaction, now: float):
        times = call.layer.times
        self.cseq = cseq
        self._call = call
        self._data = data
        self._flow = transaction.flow
        self._interval_s = times.t1_s
        self._give_up_at = now + times.give_up_s
        self._timer = call.layer.timers.start(now + self._interval_s, self._resend)

    def stop(self) -> None:
        """Stop repeating."""
        self._timer.stop()

    def _resend(self, now: float) -> None:
        layer = self._call.layer
        if now >= self._give_up_at:
            self._call.ack_timed_out(now)
            return
        layer.send(self._data, self._flow)
        self._interval_s = min(2 * self._interval_s, layer.times.t2_s)
        self._timer = layer.timers.start(min(now + self._interval_s, self._give_up_at), self._resend)


class Call(ABC):
    """One call of the user agent, from INVITE until nothing of it can be asked any more."""

    def __init__(self, handle: CallHandle, host: Host, call_id: str, local_tag: str) -> None:
        self.handle = handle
        self.host = host
        self.layer = host.layer
        self.key = (call_id, local_tag)
        self.dialog: Dialog | None = None
        self.authorizer: Authorizer | None = None
        """Answers challenges inside the dialog; only calls we make have credentials."""
        self.over = False
        self.infos = Infos(self)
        self.referrals = Referrals(self)
        self._unacked: UnackedAnswer | None = None
        self._pending: PendingOffer | None = None
        self._reinvite: Reinvite | None = None
        self._bye_headers: Headers | None = None

    @property
    @abstractmethod
    def established(self) -> bool:
        """Whether a 2xx to the first INVITE was sent or received."""

    @abstractmethod
    def hangup(self, now: float, headers: Headers) -> None:
        """End the call in the way that is right at this moment."""

    def cancelled(self, request: Request, now: float) -> None:
        """Take the CANCEL of an INVITE that has no final answer yet; it is itself answered already."""
        del request
        self._drop_pending(487, now)

    # Requests of the peer inside the dialog

    def receive(self, request: Request, flow: Flow, now: float) -> None:
        """Take a new request inside the dialog; not ACK, not CANCEL."""
        dialog = self.dialog
        if dialog is None or (self.over and request.method != "BYE"):
            self.host.reply(request, flow, 481)
            return
        if not dialog.takes(request):
            self.host.reply(request, flow, 500, "CSeq Out Of Order")
            return
        dialog.flow = flow
        match request.method:
            case "BYE":
                self._receive_bye(request, flow, now)
            case "INVITE" | "UPDATE":
                self._receive_offer(request, flow, now)
            case "INFO":
                self.infos.receive(request, flow, now)
            case "REFER":
                self.referrals.receive_refer(request, flow, now)
            case "NOTIFY":
                self.referrals.receive_notify(request, flow, now)
            case "OPTIONS":
                self.respond(request, flow, 200, now, (("Allow", ALLOW),))
            case _:
                self.host.reply(request, flow, 501, headers=(("Allow", ALLOW),))

    def receive_ack(self, request: Request, flow: Flow, now: float) -> None:
        """Take the ACK to a 2xx of ours."""
        unacked = self._unacked
        if unacked is None or unacked.cseq != request.cseq.number:
            return  # a repeated ACK
        unacked.stop()
        self._unacked = None
        if self.dialog is not None:
            self.dialog.flow = flow
        if self._bye_headers is not None:
            self._send_bye(now, self._bye_headers)
        else:
            self._acknowledged(request.sdp())

    def ack_timed_out(self, now: float) -> None:
        """Give up waiting for an ACK: the session ends (§13.3.1.4)."""
        self._unacked = None
        if not self.over:
            self.layer.emit(AckTimedOut(self.handle))
            self.finish(CallEnded(self.handle, by_peer=False, reason="no ACK"))
        self._send_bye(now, self._bye_headers or ())

    def _acknowledged(self, sdp: bytes | None) -> None:
        if sdp is not None:
            self.layer.emit(OfferAnswered(self.handle, sdp))

    def _receive_bye(self, request: Request, flow: Flow, now: float) -> None:
        self.respond(request, flow, 200, now)
        self._drop_pending(487, now)
        if self._unacked is not None:
            self._unacked.stop()
            self._unacked = None
        if self._bye_headers is not None or not self.over:
            # No BYE of ours is under way that would still need the dialog.
            self._bye_headers = None
            self.host.dialog_over(self)
        if not self.over:
            reason = request.get("reason")
            headers = readable_headers(request)
            self.finish(CallEnded(self.handle, True, readable(reason) if reason else None, headers))

    def _receive_offer(self, request: Request, flow: Flow, now: float) -> None:
        assert self.dialog is not None
        refusal = self._refusal_of_offer(request)
        if refusal is not None:
            wait = self.layer.new_token()[0]
            headers = (
                (("Retry-After", str(int(wait, 16) % (RETRY_AFTER_S_MAX + 1))),) if refusal == 500 else ()
            )
            self.host.reply(request, flow, refusal, headers=headers)
            return
        self.dialog.refresh_target(request)
        sdp = request.sdp()
        if request.method == "UPDATE" and sdp is None:
            self.respond(request, flow, 200, now, self._session_headers(flow))
            return
        transaction: ServerTransaction
        if request.method == "INVITE":
            transaction = self.layer.serve_invite(request, flow, self)
            trying = make_response(100, echoed_headers(request, flow, self.key[1]))
            transaction.respond(100, trying, now)
        else:
            transaction = self.layer.serve(request, flow)
        timer = self.layer.timers.start(now + self.layer.times.give_up_s / 2, self._offer_unanswered)
        self._pending = PendingOffer(request, flow, transaction, timer)
        self.layer.emit(OfferReceived(self.handle, sdp))

    def _refusal_of_offer(self, request: Request) -> int | None:
        if not self.established or self._pending is not None:
            return 500
        if self._reinvite is not None or self._unacked is not None:
            return 491
        if request.body and request.sdp() is None:
            return 415
        return None

    def _offer_unanswered(self, now: float) -> None:
        self._drop_pending(488, now)

    def _drop_pending(self, status: int, now: float) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.timer.stop()
            echoed = echoed_headers(pending.request, pending.flow, self.key[1])
            pending.transaction.respond(status, make_response(status, echoed), now)

    def respond(self, request: Request, flow: Flow, status: int, now: float, headers: Headers = ()) -> None:
        """Answer a request inside the dialog so that its repeats get the same answer."""
        echoed = echoed_headers(request, flow, self.key[1])
        data = make_response(status, echoed, headers=headers)
        self.layer.serve(request, flow).respond(status, data, now)

    def _session_headers(self, flow: Flow, headers: Headers = ()) -> Headers:
        own: Headers = (
            ("Contact", contact(self.layer.config.contact_user, flow)),
            ("Allow", ALLOW),
            ("Server", self.layer.config.user_agent),
        )
        return (*own, *headers)

    # What the application asks for inside the dialog

    def answer_offer(self, sdp: bytes, now: float) -> None:
        """Accept the pending re-INVITE or UPDATE."""
        pending, self._pending = self._pending, None
        if pending is None:
            raise CallStateError("there is no offer to answer")
        pending.timer.stop()
        echoed = echoed_headers(pending.request, pending.flow, self.key[1])
        data = make_response(200, echoed, headers=self._session_headers(pending.flow), body=sdp)
        pending.transaction.respond(200, data, now)
        if pending.request.method == "INVITE":
            self._unacked = UnackedAnswer(self, pending.request.cseq.number, data, pending.transaction, now)

    def refuse_offer(self, status: int, now: float) -> None:
        """Refuse the pending re-INVITE or UPDATE; the session stays as it was."""
        if self._pending is None:
            raise CallStateError("there is no offer to refuse")
        self._drop_pending(status, now)

    def reinvite(self, sdp: bytes, now: float) -> None:
        """Offer new media (§14.1)."""
        if self.over or not self.established or self.dialog is None:
            raise CallStateError("the call is not established")
        if self._reinvite is not None or self._pending is not None or self._unacked is not None:
            raise CallStateError("another offer is under way")
        self._reinvite = Reinvite(self, self.dialog, sdp, now)

    def reinvite_done(self, event: UserAgentEvent, *, fatal: bool, now: float) -> None:
        """Take the verdict on our re-INVITE; `fatal` ends the call (§12.2.1.2)."""
        self._reinvite = None
        if self.over:
            return
        self.layer.emit(event)
        if fatal:
            self.forgotten(now)

    def forgotten(self, now: float) -> None:
        """End a call whose dialog the peer does not know any more (§12.2.1.2)."""
        self._hang_up_established(now, (), "the peer does not know the call")

    def finish(self, event: UserAgentEvent) -> None:
        """Emit the call's last event."""
        assert not self.over, "a call has one last event"
        self.over = True
        self.layer.emit(event)
        self.host.call_over(self)

    def _send_bye(self, now: float, headers: Headers) -> None:
        assert self.dialog is not None, "only a dialog has a BYE"
        self._bye_headers = None
        send_bye(self.layer, self.dialog, ByeUser(self, self.dialog, headers), now, headers)

    def _hang_up_established(self, now: float, headers: Headers, reason: str | None = None) -> None:
        self._drop_pending(487, now)
        self.finish(CallEnded(self.handle, by_peer=False, reason=reason))
        if self._unacked is not None:
            # §15: who answered must not send BYE before the ACK or its timeout.
            self._bye_headers = headers
        else:
            self._send_bye(now, headers)


class ByeUser:
    """Waits for the end of a BYE, so that a crossing BYE of the peer still finds the dialog."""

    def __init__(self, call: Call, dialog: Dialog, headers: Headers) -> None:
        self._call = call
        self._dialog = dialog
        self._headers = headers

    def on_response(self, response: Response, now: float) -> None:
        """Forget the dialog when the peer took the BYE, or refused it; answer its challenge."""
        authorizer = self._call.authorizer
        if response.status in (401, 407) and authorizer is not None and authorizer.learn(response):
            answers = authorizer.headers("BYE", self._dialog.request_uri)
            send_bye(self._call.layer, self._dialog, self, now, (*self._headers, *answers))
            return
        if response.status >= 200:
            self._call.host.dialog_over(self._call)

    def on_failure(self, status: int, now: float) -> None:
        """Forget the dialog when nobody answers."""
        del status, now
        self._call.host.dialog_over(self._call)


class Reinvite:
    """One re-INVITE of ours, until nobody can answer it any more."""

    def __init__(self, call: Call, dialog: Dialog, sdp: bytes, now: float) -> None:
        layer = call.layer
        self._call = call
        self._dialog = dialog
        self._ack: tuple[bytes, Flow] | None = None
        self._timer = layer.timers.start(now + layer.times.give_up_s, self._too_long)
        request = dialog.request(
            "INVITE",
            branch=layer.new_branch(),
            user_agent=layer.config.user_agent,
            headers=(("Allow", ALLOW),),
            contact_user=layer.config.contact_user,
            body=sdp,
        )
        self._cseq = request.cseq.number
        self._transaction = layer.invite(request, dialog.next_hop(), self, now)

    def on_response(self, response: Response, now: float) -> None:
        """Take what the peer says; every 2xx gets its ACK."""
        status = response.status
        if status < 200:
            return
        self._timer.stop()
        if status >= 300:
            words = readable(response.reason)
            event = OfferRefused(self._call.handle, status, words)
            self._call.reinvite_done(event, fatal=status in (408, 481), now=now)
            return
        if self._ack is None:
            self._dialog.refresh_target(response)
            self._ack = make_ack(self._call.layer, self._dialog, self._cseq)
            self._call.layer.send(*self._ack)
            self._call.reinvite_done(OfferAnswered(self._call.handle, response.sdp()), fatal=False, now=now)
        else:
            self._call.layer.send(*self._ack)

    def on_failure(self, status: int, now: float) -> None:
        """Take the verdict of silence or of the transport."""
        self._timer.stop()
        event = OfferRefused(self._call.handle, status, reason_phrase(status))
        self._call.reinvite_done(event, fatal=status == 408, now=now)

    def _too_long(self, now: float) -> None:
        self._transaction.fail(408, now)


def make_ack(
    layer: TransactionLayer, dialog: Dialog, cseq: int, headers: Sequence[Header] = ()
) -> tuple[bytes, Flow]:
    """Return the ACK to a 2xx and where it goes; repeats of the 2xx get the same one (§13.2.2.4)."""
    request = dialog.request(
        "ACK", branch=layer.new_branch(), user_agent=layer.config.user_agent, cseq=cseq, headers=headers
    )
    return request.to_bytes(), dialog.next_hop()


def send_bye(
    layer: TransactionLayer,
    dialog: Dialog,
    user: ClientUser,
    now: float,
    headers: tuple[Header, ...] = (),
) -> None:
    """Send the BYE of a dialog."""
    request = dialog.request(
        "BYE", branch=layer.new_branch(), user_agent=layer.config.user_agent, headers=headers
    )
    layer.request(request, dialog.next_hop(), user, now)


def readable_headers(message: Request | Response) -> Headers:
    """Return all headers of a message as text that every encoder takes."""
    return tuple((readable(name), readable(value)) for name, value in message.fields)
