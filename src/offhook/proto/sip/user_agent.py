"""The user agent: gives every message to its transaction, call or refusal (RFC 3261 §8, §9, §12, §13)."""

import hashlib
from collections.abc import Callable

from offhook.proto.sip.call import Call
from offhook.proto.sip.events import (
    CallHandle,
    CallStateError,
    Counters,
    Credentials,
    Flow,
    Headers,
    OutgoingCall,
    Transmit,
    UserAgentConfig,
    UserAgentEvent,
)
from offhook.proto.sip.framing import Oversized
from offhook.proto.sip.incoming import IncomingLeg
from offhook.proto.sip.layer import TransactionLayer
from offhook.proto.sip.message import Request, Response, parse_message
from offhook.proto.sip.outgoing import OutgoingLeg
from offhook.proto.sip.reply import ALLOW, SDP_TYPE, contact, echoed_headers, make_response, reply_flow
from offhook.proto.sip.transaction import InviteServerTransaction
from offhook.proto.sip.values import SipSyntaxError, SipUri, is_token

__all__ = ["UserAgent", "check_headers"]

_SERVED = frozenset(("INVITE", "OPTIONS", "BYE", "INFO", "UPDATE", "NOTIFY"))
_KNOWN = frozenset(("REGISTER", "SUBSCRIBE", "REFER", "MESSAGE", "PUBLISH", "PRACK"))
_OURS = frozenset(
    (
        "via", "from", "to", "call-id", "cseq", "contact", "content-length", "content-type", "max-forwards",
        "route", "record-route", "require", "allow", "user-agent", "server", "authorization",
        "proxy-authorization", "refer-to",
    )
)  # fmt: skip
_ALLOW: Headers = (("Allow", ALLOW),)


class UserAgent:
    """Both roles of a SIP user agent, without sockets, clocks or tasks.

    Feed `receive`, `connection_lost` and `handle_timeout`; drain `transmits` and `events` after
    every input; come back at `poll_timeout`. `now` is seconds of any steady clock. Nothing that a
    peer sends raises. The package docstring has the grammar of the events.

    Args:
        config: what the user agent needs to know once.
        random: returns that many unguessable bytes; a test may seed it.
    """

    def __init__(self, config: UserAgentConfig, random: Callable[[int], bytes]) -> None:
        self.config = config
        self.layer = TransactionLayer(config, random)
        self.accepting = True
        self._calls: dict[CallHandle, Call] = {}
        self._dialogs: dict[tuple[str, str], Call] = {}
        self._handles = 0
        self._secret = random(16)

    # Input

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Take one datagram, or one message that `StreamFramer` cut out of a stream."""
        if not data.strip(b"\r\n\0"):
            self._count("keepalives")
            return
        try:
            message = parse_message(data, stream=flow.reliable)
        except SipSyntaxError as error:
            self._count("malformed_" + error.kind)
            return
        try:
            if isinstance(message, Response):
                self._receive_response(message, now)
            else:
                self._count("requests")
                self._receive_request(message, flow, now)
        except SipSyntaxError as error:
            self._count("malformed_" + error.kind)
            if isinstance(message, Request) and message.method != "ACK":
                self._refuse_malformed(message, flow, error)

    def receive_oversized(self, message: Oversized, flow: Flow) -> None:
        """Answer 513 to a stream message over the bound; its connection should then be closed."""
        self._count("malformed_too_large")
        try:
            request = parse_message(message.head, stream=True)
            if isinstance(request, Request) and request.method != "ACK":
                self.reply(request, flow, 513)
        except SipSyntaxError:
            self._count("unanswerable")

    def handle_timeout(self, now: float) -> None:
        """Let time pass. Safe to call early, late, or twice."""
        self.layer.timers.expire(now)

    def connection_lost(self, flow: Flow, now: float) -> None:
        """Note that a stream connection ended, or could not be opened to `flow.remote`.

        Requests that wait for an answer over it fail (503); calls live on and use a new connection.
        """
        self.layer.connection_lost(flow, now)
        if flow.connection:
            for call in tuple(self._dialogs.values()):
                dialog = call.dialog
                if dialog is not None and dialog.flow.connection == flow.connection:
                    dialog.flow = Flow(dialog.flow.transport, dialog.flow.local, dialog.flow.remote)

    # Output

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted next; None while nothing waits."""
        return self.layer.timers.next()

    def transmits(self) -> list[Transmit]:
        """Take what is to be sent, in order."""
        return self.layer.take_transmits()

    def events(self) -> list[UserAgentEvent]:
        """Take what happened, in order."""
        return self.layer.take_events()

    @property
    def counters(self) -> Counters:
        """What was counted since the start: requests, responses, refusals, `malformed_*` by reason."""
        return self.layer.counters

    @property
    def calls(self) -> tuple[CallHandle, ...]:
        """Every call whose last event is still to come."""
        return tuple(self._calls)

    @property
    def transaction_count(self) -> int:
        """How many transactions are alive, finished ones that absorb repeats included."""
        return len(self.layer)

    def is_idle(self) -> bool:
        """Say whether nothing is left: no call, no dialog, no transaction, no timer."""
        return not (self._calls or self._dialogs or len(self.layer) or len(self.layer.timers))

    # What the application does

    def ring(
        self,
        call: CallHandle,
        now: float,
        *,
        status: int = 180,
        sdp: bytes | None = None,
        headers: Headers = (),
    ) -> None:
        """Answer an incoming call provisionally."""
        check_headers(headers)
        self._incoming(call).ring(status, sdp, headers, now)

    def accept(self, call: CallHandle, sdp: bytes, now: float, *, headers: Headers = ()) -> None:
        """Answer an incoming call with 200."""
        check_headers(headers)
        self._incoming(call).accept(sdp, headers, now)

    def reject(
        self, call: CallHandle, status: int, now: float, *, reason: str | None = None, headers: Headers = ()
    ) -> None:
        """Refuse an incoming call; its last event, `CallRejected`, comes at once."""
        check_headers(headers)
        check_headers((("Reason", reason or ""),))
        self._incoming(call).reject(status, reason, headers, now)

    def invite(self, request: OutgoingCall, sdp: bytes, now: float) -> CallHandle:
        """Call somebody."""
        check_headers(request.headers)
        if len(self._calls) >= self.config.max_calls or self.layer.full:
            raise CallStateError("the bound of calls is met")
        leg = OutgoingLeg(self._next_handle(), self, request, sdp, now)
        self._add(leg)
        return leg.handle

    def cancel(self, call: CallHandle, now: float, *, headers: Headers = ()) -> None:
        """Give up an outgoing call that has no answer yet."""
        check_headers(headers)
        leg = self._find(call)
        if not isinstance(leg, OutgoingLeg):
            raise CallStateError("this call came in; reject it")
        leg.cancel(now, headers)

    def hangup(self, call: CallHandle, now: float, *, headers: Headers = ()) -> None:
        """End a call by BYE, CANCEL or 603, whichever is right now. A call that is over stays over.

        The last event comes at once, except while a CANCEL waits for the INVITE's final response.
        """
        check_headers(headers)
        leg = self._calls.get(call)
        if leg is not None:
            leg.hangup(now, headers)

    def reinvite(self, call: CallHandle, sdp: bytes, now: float) -> None:
        """Offer new media in an established call; `OfferAnswered` or `OfferRefused` follows."""
        self._find(call).reinvite(sdp, now)

    def answer_offer(self, call: CallHandle, sdp: bytes, now: float) -> None:
        """Accept the offer of `OfferReceived`."""
        self._find(call).answer_offer(sdp, now)

    def refuse_offer(self, call: CallHandle, now: float, *, status: int = 488) -> None:
        """Refuse the offer of `OfferReceived`."""
        self._find(call).refuse_offer(status, now)

    def info(self, call: CallHandle, content_type: str, body: bytes, now: float) -> None:
        """Send an INFO in an established call, after those that wait; `InfoAnswered` follows."""
        check_headers((("Info", content_type),))
        self._find(call).infos.send(content_type, body, now)

    def refer(
        self,
        call: CallHandle,
        target: str,
        now: float,
        *,
        headers: Headers = (),
        credentials: Credentials | None = None,
    ) -> None:
        """Ask the far end of an established call to call `target`; `ReferAnswered` follows.

        Without `credentials` of its own a challenge is answered with those of the call.
        """
        check_headers(headers)
        self._find(call).referrals.send(target, headers, credentials, now)

    def forget_referral(self, call: CallHandle) -> None:
        """Tell no more of the referral of a call that is under way, so that there may be another."""
        self._find(call).referrals.give_up()

    # What calls ask of their host

    def reply(
        self, request: Request, flow: Flow, status: int, reason: str | None = None, headers: Headers = ()
    ) -> None:
        """Answer without keeping state (§8.2.7): a repeated request simply gets the answer again."""
        self._count(f"answered_{status}")
        echoed = echoed_headers(request, flow, self._stateless_tag(request))
        headers = (*headers, ("Server", self.config.user_agent))
        data = make_response(status, echoed, reason=reason, headers=headers)
        self.layer.send(data, reply_flow(request.via, flow))

    def call_over(self, call: Call) -> None:
        """Forget a call after its last event."""
        self._calls.pop(call.handle, None)

    def dialog_over(self, call: Call) -> None:
        """Forget a dialog that no request can belong to any more."""
        self._dialogs.pop(call.key, None)

    # Requests

    def _receive_request(self, request: Request, flow: Flow, now: float) -> None:
        # Reading them here raises once, before anything is changed.
        cseq, to = request.cseq, request.to
        _ = request.via, request.sender, request.call_id
        if request.method == "ACK":
            self._receive_ack(request, flow, now)
            return
        if request.defect is not None:
            self._count("malformed_refused")
            self.reply(request, flow, *request.defect)
            return
        if cseq.method != request.method or request.duplicated():
            self._count("malformed_refused")
            self.reply(request, flow, 400, "CSeq Method Mismatch" if cseq.method != request.method else None)
            return
        transaction = self.layer.find_server(request)
        if transaction is not None:
            self._count("repeats_absorbed")
            transaction.repeat()
        elif request.method == "CANCEL":
            self._receive_cancel(request, flow, now)
        elif to.tag:
            self._receive_in_dialog(request, flow, now)
        else:
            self._receive_outside(request, flow, now)

    def _receive_ack(self, request: Request, flow: Flow, now: float) -> None:
        transaction = self.layer.find_server(request)
        if isinstance(transaction, InviteServerTransaction) and not transaction.acknowledge(now):
            return
        call = self._dialogs.get((request.call_id, request.to.tag))
        if call is not None and call.dialog is not None and call.dialog.remote_tag == request.sender.tag:
            call.receive_ack(request, flow, now)
        else:
            self._count("acks_unmatched")

    def _receive_cancel(self, request: Request, flow: Flow, now: float) -> None:
        target = self.layer.find_server(request, "INVITE")
        if not isinstance(target, InviteServerTransaction):
            self.reply(request, flow, 481)
            return
        call = self._call_of(target)
        local_tag = call.key[1] if call is not None else self._stateless_tag(request)
        data = make_response(200, echoed_headers(request, flow, local_tag))
        self.layer.serve(request, flow).respond(200, data, now)
        if call is not None and target.unanswered:
            call.cancelled(request, now)

    def _call_of(self, transaction: InviteServerTransaction) -> Call | None:
        user = transaction.user
        return user if isinstance(user, Call) else None

    def _receive_in_dialog(self, request: Request, flow: Flow, now: float) -> None:
        call = self._dialogs.get((request.call_id, request.to.tag))
        if call is None or call.dialog is None or call.dialog.remote_tag != request.sender.tag:
            self.reply(request, flow, 481)
        elif self.layer.full and request.method != "BYE":
            self._overloaded(request, flow)
        elif request.method != "BYE" and self._refused_extension(request, flow):
            return
        else:
            call.receive(request, flow, now)

    def _receive_outside(self, request: Request, flow: Flow, now: float) -> None:
        if request.method not in _SERVED:
            self.reply(request, flow, 405 if request.method in _KNOWN else 501, headers=_ALLOW)
        elif request.method not in ("INVITE", "OPTIONS"):
            self.reply(request, flow, 481)
        elif request.uri.partition(":")[0].lower() not in ("sip", "sips", "tel"):
            self.reply(request, flow, 416)
        elif self._refused_extension(request, flow):
            return
        elif request.method == "OPTIONS":
            headers: Headers = (
                ("Contact", contact(self.config.contact_user, flow)),
                ("Accept", SDP_TYPE),
                ("Supported", ""),
            )
            self.reply(request, flow, 200, headers=(*_ALLOW, *headers))
        else:
            self._receive_invite(request, flow, now)

    def _receive_invite(self, request: Request, flow: Flow, now: float) -> None:
        SipUri.parse(request.uri)
        if self.layer.is_merged(request):
            self.reply(request, flow, 482)
        elif (request.get("max-forwards") or "").strip() == "0":
            # RFC 7332: a call must not loop through us and back for ever.
            self.reply(request, flow, 483)
        elif request.contact is None:
            self.reply(request, flow, 400, "Missing Contact")
        elif not request.get_tokens("content-encoding") <= {"identity"}:
            self.reply(request, flow, 415, headers=(("Accept-Encoding", "identity"),))
        elif request.body and request.sdp() is None:
            self.reply(request, flow, 415, headers=(("Accept", SDP_TYPE),))
        elif not self.accepting or len(self._calls) >= self.config.max_calls or self.layer.full:
            self._overloaded(request, flow)
        else:
            self._add(IncomingLeg(self._next_handle(), self, request, flow, now))

    def _refused_extension(self, request: Request, flow: Flow) -> bool:
        required = request.get_values("require")
        if required:
            self.reply(request, flow, 420, headers=(("Unsupported", ", ".join(required)),))
        return bool(required)

    def _overloaded(self, request: Request, flow: Flow) -> None:
        self.reply(request, flow, 503, headers=(("Retry-After", str(self.config.retry_after_s)),))

    def _refuse_malformed(self, request: Request, flow: Flow, error: SipSyntaxError) -> None:
        try:
            if error.kind == "uri_scheme":
                self.reply(request, flow, 416)
            else:
                self.reply(request, flow, 400)
        except SipSyntaxError:
            self._count("unanswerable")

    # Responses

    def _receive_response(self, response: Response, now: float) -> None:
        self._count("responses")
        if response.defect is not None:
            self._count("malformed_response")
            return
        _ = response.sender, response.to
        if not self.layer.receive_response(response, now):
            self._count("responses_unmatched")

    # Small things

    def _add(self, call: Call) -> None:
        if not call.over:
            self._calls[call.handle] = call
            self._dialogs[call.key] = call

    def _find(self, handle: CallHandle) -> Call:
        call = self._calls.get(handle)
        if call is None:
            raise CallStateError("the call is over")
        return call

    def _incoming(self, handle: CallHandle) -> IncomingLeg:
        call = self._find(handle)
        if not isinstance(call, IncomingLeg):
            raise CallStateError("this call was made by us")
        return call

    def _next_handle(self) -> CallHandle:
        self._handles += 1
        return CallHandle(self._handles)

    def _stateless_tag(self, request: Request) -> str:
        # The same for every repeat of a request, and not to be guessed (§8.2.6.2).
        identity = f"{request.get('call-id')}\0{request.via.branch}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(identity, digest_size=8, key=self._secret).hexdigest()

    def _count(self, name: str) -> None:
        self.layer.counters[name] += 1


def check_headers(headers: Headers) -> None:
    """Refuse headers that would break the message or that only the user agent may write.

    Raises:
        SipSyntaxError: `header_name`, `header_value` or `header_reserved`.
    """
    for name, value in headers:
        if not is_token(name):
            raise SipSyntaxError("header_name")
        if any(c in value for c in "\r\n\0"):
            raise SipSyntaxError("header_value")
        if name.lower() in _OURS:
            raise SipSyntaxError("header_reserved")
