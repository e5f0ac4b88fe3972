"""REFER inside a call: ours, and the NOTIFYs that tell what became of it (RFC 3515). A peer's is declined."""

from typing import TYPE_CHECKING

from offhook.proto.sip.asking import DialogRequest
from offhook.proto.sip.digest import Authorizer
from offhook.proto.sip.events import CallStateError, Credentials, Flow, Headers, ReferAnswered, ReferNotified
from offhook.proto.sip.message import Request, parse_status_line
from offhook.proto.sip.values import Address, SipSyntaxError, parse_parameters

if TYPE_CHECKING:
    from offhook.proto.sip.call import Call

SIPFRAG = "message/sipfrag"
_ALLOW_EVENTS: Headers = (("Allow-Events", "refer"),)


class Referrals:
    """The referrals of one call, one after the other."""

    def __init__(self, call: "Call") -> None:
        self._call = call
        self._request: DialogRequest | None = None
        self._open = False

    def send(self, target: str, headers: Headers, credentials: Credentials | None, now: float) -> None:
        """Ask the peer to call `target`; `ReferAnswered` follows, and `ReferNotified` when it was accepted.

        Raises:
            CallStateError: the call is not established, or a referral is under way.
            SipSyntaxError: the target cannot stand in a header.
        """
        call = self._call
        if call.over or not call.established or call.dialog is None:
            raise CallStateError("the call is not established")
        if self._open:
            raise CallStateError("a referral is under way")
        if ":" not in target or any(c <= " " or c in '<>"\x7f' for c in target):
            raise SipSyntaxError("uri")
        authorizer = call.authorizer
        if credentials is not None:
            authorizer = Authorizer(credentials, call.layer.new_token())
        own: Headers = (("Refer-To", f"<{target}>"),)
        if not any(name.lower() == "referred-by" for name, _ in headers):
            own += (("Referred-By", f"<{Address.parse(call.dialog.local).uri}>"),)
        self._open = True
        self._request = DialogRequest(
            call,
            "REFER",
            headers=(*own, *headers),
            names_us=True,
            authorizer=authorizer,
            on_answer=self._answered,
            now=now,
        )

    def give_up(self) -> None:
        """Tell no more of the referral that is under way; its NOTIFYs are still answered."""
        self._open = False

    def receive_refer(self, request: Request, flow: Flow, now: float) -> None:
        """Decline to call anybody for the peer: what a call leads to is the app's decision."""
        self._call.layer.counters["refers_declined"] += 1
        self._call.respond(request, flow, 603, now)

    def receive_notify(self, request: Request, flow: Flow, now: float) -> None:
        """Take a NOTIFY: of our referral it is told, any other is refused (RFC 6665 4.1.3)."""
        event, _, parameters = (request.get("event") or "").partition(";")
        if event.strip().lower() != "refer":
            self._call.host.reply(request, flow, 489, headers=_ALLOW_EVENTS)
            return
        number = parse_parameters(parameters).get("id")
        known = [] if self._request is None else [str(each) for each in self._request.numbers]
        if not known or (number is not None and number not in known):
            self._call.host.reply(request, flow, 481)
            return
        over = (request.get("subscription-state") or "").partition(";")[0].strip().lower() == "terminated"
        status = None
        if request.body:
            if request.content_type.partition(";")[0].strip().lower() != SIPFRAG:
                self._call.host.reply(request, flow, 415, headers=(("Accept", SIPFRAG),))
                return
            status = parse_status_line(request.body)
        self._call.respond(request, flow, 200, now)
        if self._open and not self._call.over and (status is not None or over):
            self._open = not over and (status is None or status < 200)
            self._call.layer.emit(ReferNotified(self._call.handle, status, over))

    def _answered(self, status: int, now: float) -> None:
        if self._call.over:
            return
        if self._open:
            self._open = status < 300
            self._call.layer.emit(ReferAnswered(self._call.handle, status))
        if status == 481:
            self._call.forgotten(now)
