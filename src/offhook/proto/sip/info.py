"""INFO inside a call, in both directions, and the keys that some phones press by it (RFC 6086, RFC 2976)."""

import re
from collections import deque
from typing import TYPE_CHECKING

from offhook.base import limits
from offhook.proto.sip.asking import DialogRequest
from offhook.proto.sip.events import CallStateError, Flow, Headers, InfoAnswered, InfoReceived
from offhook.proto.sip.message import Request
from offhook.proto.sip.values import readable

if TYPE_CHECKING:
    from offhook.proto.sip.call import Call

KEY_TYPES = ("application/dtmf-relay", "application/dtmf")
ACCEPTED = ", ".join((*KEY_TYPES, "text/*"))
_SIGNAL = re.compile(r"^[ \t]*signal[ \t]*=[ \t]*(\S+)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE | re.ASCII)
_KEYS = "0123456789*#ABCD"
_Refusal = tuple[int, Headers]


class Infos:
    """The INFOs of one call. Those we send wait for one another, so that they arrive in order."""

    def __init__(self, call: "Call") -> None:
        self._call = call
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._under_way = False
        self._second = 0.0
        self._received = 0

    def receive(self, request: Request, flow: Flow, now: float) -> None:
        """Take an INFO of the peer: refuse what nobody could read, tell the rest."""
        refusal = self._refusal(request, now)
        if refusal is not None:
            status, headers = refusal
            self._call.host.reply(request, flow, status, headers=headers)
            return
        self._call.respond(request, flow, 200, now)
        if not self._call.established:
            self._call.layer.counters["infos_too_early"] += 1
            return
        headers = tuple((readable(name), readable(value)) for name, value in request.fields)
        kind = readable(request.content_type)
        self._call.layer.emit(InfoReceived(self._call.handle, kind, request.body, headers))

    def send(self, content_type: str, body: bytes, now: float) -> None:
        """Send an INFO after those that wait; `InfoAnswered` follows.

        Raises:
            CallStateError: the call is not established, or too many wait.
        """
        if self._call.over or not self._call.established:
            raise CallStateError("the call is not established")
        if len(self._waiting) >= limits.INFOS_WAITING_MAX:
            raise CallStateError("too many INFOs wait")
        self._waiting.append((content_type, body))
        if not self._under_way:
            self._send_next(now)

    def _send_next(self, now: float) -> None:
        content_type, body = self._waiting.popleft()
        self._under_way = True
        DialogRequest(
            self._call,
            "INFO",
            content_type=content_type,
            body=body,
            authorizer=self._call.authorizer,
            on_answer=self._answered,
            now=now,
        )

    def _answered(self, status: int, now: float) -> None:
        self._under_way = False
        if self._call.over:
            self._waiting.clear()
            return
        self._call.layer.emit(InfoAnswered(self._call.handle, status))
        if status == 481:
            self._call.forgotten(now)
        elif self._waiting:
            self._send_next(now)

    def _refusal(self, request: Request, now: float) -> _Refusal | None:
        if now >= self._second + 1.0:
            self._second, self._received = now, 0
        self._received += 1
        if self._received > limits.INFOS_RECEIVED_PER_S_MAX:
            return 503, (("Retry-After", "1"),)
        if request.get("info-package"):
            return 469, (("Recv-Info", ""),)  # RFC 6086 4.2.2: no package is known here
        if not request.get_tokens("content-encoding") <= {"identity"}:
            return 415, (("Accept-Encoding", "identity"),)
        if len(request.body) > limits.INFO_BODY_BYTES_MAX:
            return 413, ()
        if not _is_text(request.body):
            return 415, (("Accept", ACCEPTED),)
        return None


def carries_key(content_type: str) -> bool:
    """Say whether an INFO of this type is a key that was pressed."""
    return content_type.partition(";")[0].strip().lower() in KEY_TYPES


def key_of_info(content_type: str, body: bytes) -> str | None:
    """Return the key that an INFO presses, None when its body is none; A-D are told in upper case.

    `application/dtmf-relay` has it as `Signal=5`, `application/dtmf` as the whole body. `*` and `#` may
    come as 10 and 11, the codes of their telephone-events (RFC 4733 section 3.2).
    """
    text = body.decode("ascii", "replace")
    if content_type.partition(";")[0].strip().lower() == KEY_TYPES[0]:
        found = _SIGNAL.search(text)
        text = found[1] if found else ""
    text = text.strip().upper()
    if len(text) == 2 and text.isdigit() and 10 <= int(text) < len(_KEYS):
        return _KEYS[int(text)]
    return text if len(text) == 1 and text in _KEYS else None


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode("utf-8")
    except UnicodeDecodeError:
        return False
