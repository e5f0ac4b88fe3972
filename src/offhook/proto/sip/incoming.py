"""A call that came in: the answering side of an INVITE (RFC 3261 §13.3)."""

from offhook.proto.sip.call import Call, Host, UnackedAnswer, readable_headers
from offhook.proto.sip.dialog import Dialog
from offhook.proto.sip.events import (
    CallCancelled,
    CallEstablished,
    CallHandle,
    CallRejected,
    CallStateError,
    Flow,
    Headers,
    IncomingCall,
)
from offhook.proto.sip.message import Request, reason_phrase
from offhook.proto.sip.reply import echoed_headers, make_response
from offhook.proto.sip.values import readable

HANGUP_BEFORE_ANSWER_STATUS = 603


class IncomingLeg(Call):
    """One INVITE of a peer and the call it becomes."""

    def __init__(self, handle: CallHandle, host: Host, invite: Request, flow: Flow, now: float) -> None:
        local_tag = host.layer.new_token()
        super().__init__(handle, host, invite.call_id, local_tag)
        self.dialog = Dialog.accepted(invite, flow, local_tag)
        self._invite = invite
        self._flow = flow
        self._echoed = echoed_headers(invite, flow, local_tag)
        self._transaction = self.layer.serve_invite(invite, flow, self)
        self._answered = False
        self._first_ack_came = False
        timestamp = invite.get("timestamp")
        headers = (("Timestamp", timestamp),) if timestamp else ()
        self._transaction.respond(100, make_response(100, self._echoed, headers=headers), now)
        self._ring_timer = self.layer.timers.start(
            now + self.layer.config.ring_timeout_s, self._rang_too_long
        )
        self.layer.emit(self._announcement())

    @property
    def established(self) -> bool:
        """Whether our 2xx was sent."""
        return self._answered

    def ring(self, status: int, sdp: bytes | None, headers: Headers, now: float) -> None:
        """Send a provisional response, with early media when there is an SDP."""
        self._must_be_unanswered()
        assert 100 < status < 200, "a provisional response"
        self._respond(status, None, headers, sdp or b"", now)

    def accept(self, sdp: bytes, headers: Headers, now: float) -> None:
        """Send 200 and repeat it until the ACK comes."""
        self._must_be_unanswered()
        self._answered = True
        self._ring_timer.stop()
        data = self._respond(200, None, headers, sdp, now)
        self._unacked = UnackedAnswer(self, self._invite.cseq.number, data, self._transaction, now)

    def reject(self, status: int, reason: str | None, headers: Headers, now: float) -> None:
        """Send a final failure."""
        self._must_be_unanswered()
        assert 300 <= status < 700, "a final failure"
        self._respond(status, reason, headers, b"", now)
        words = reason or reason_phrase(status)
        self._end_unanswered(CallRejected(self.handle, status, words, by_peer=False))

    def hangup(self, now: float, headers: Headers) -> None:
        """Decline when unanswered, else BYE, after the ACK if that is still to come."""
        if not self._answered:
            self.reject(HANGUP_BEFORE_ANSWER_STATUS, None, headers, now)
        else:
            self._hang_up_established(now, headers)

    def cancelled(self, request: Request, now: float) -> None:
        """Take the CANCEL of the INVITE, or of a later one."""
        if self._answered:
            super().cancelled(request, now)
        elif not self.over:
            self._gave_up(request, now)

    def _receive_bye(self, request: Request, flow: Flow, now: float) -> None:
        if self._answered or self.over:
            super()._receive_bye(request, flow, now)
        else:
            # §15: a caller may end an early dialog with BYE; the INVITE still needs its own end.
            self.respond(request, flow, 200, now)
            self._gave_up(request, now)

    def _acknowledged(self, sdp: bytes | None) -> None:
        if self._first_ack_came:
            super()._acknowledged(sdp)
        else:
            self._first_ack_came = True
            self.layer.emit(CallEstablished(self.handle, sdp))

    def _gave_up(self, request: Request, now: float) -> None:
        self._respond(487, None, (), b"", now)
        reason = request.get("reason")
        words = readable(reason) if reason else None
        self._end_unanswered(CallCancelled(self.handle, words, readable_headers(request)))

    def _rang_too_long(self, now: float) -> None:
        self.reject(480, None, (), now)

    def _end_unanswered(self, event: CallRejected | CallCancelled) -> None:
        self._ring_timer.stop()
        self.host.dialog_over(self)
        self.finish(event)

    def _respond(self, status: int, reason: str | None, headers: Headers, body: bytes, now: float) -> bytes:
        own: Headers = self._session_headers(self._flow, headers) if status < 300 else headers
        if status < 300:
            own = (*(("Record-Route", value) for value in self._invite.get_lines("record-route")), *own)
        data = make_response(status, self._echoed, reason=reason, headers=own, body=body)
        self._transaction.respond(status, data, now)
        return data

    def _must_be_unanswered(self) -> None:
        if self.over:
            raise CallStateError("the call is over")
        if self._answered:
            raise CallStateError("the call is answered already")

    def _announcement(self) -> IncomingCall:
        invite = self._invite
        return IncomingCall(
            call=self.handle,
            call_id=readable(invite.call_id),
            from_uri=readable(invite.sender.uri),
            from_display=readable(invite.sender.display),
            to_uri=readable(invite.to.uri),
            request_uri=readable(invite.uri),
            headers=readable_headers(invite),
            sdp=invite.sdp(),
            source=self._flow,
        )
