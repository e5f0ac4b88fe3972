"""A caller for hundreds of calls at once: SIP over UDP (RFC 3261), as little of it as a caller needs."""

import asyncio
import contextlib
import re
import secrets
from dataclasses import dataclass, field
from typing import cast

from rig import ports

T1_S = 0.5
ANSWER_TIMEOUT_S = 20.0
BYE_TIMEOUT_S = 8.0


@dataclass
class Call:
    """One call of the caller, from INVITE to BYE."""

    number: int
    local_rtp: int
    answered: asyncio.Future[None]
    ended: asyncio.Future[None]
    call_id: str = field(default_factory=lambda: f"{secrets.token_hex(8)}@bench")
    tag: str = field(default_factory=lambda: secrets.token_hex(4))
    branch: str = field(default_factory=lambda: new_branch())
    proceeding: bool = False
    remote_tag: str = ""
    target: str = f"sip:bench@{ports.HOST}:{ports.SIP}"
    remote_rtp: int = 0


def new_branch() -> str:
    return f"z9hG4bK{secrets.token_hex(8)}"


class Caller(asyncio.DatagramProtocol):
    """All calls share one socket; a call whose INVITE or BYE gets no answer raises `TimeoutError`."""

    def __init__(self) -> None:
        self.calls_total = 0
        self._calls: dict[str, Call] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def close(self) -> None:
        self._transport.close()

    async def call(self, number: int, local_rtp: int) -> Call:
        """Set a call up, or raise."""
        loop = asyncio.get_running_loop()
        call = Call(number, local_rtp, loop.create_future(), loop.create_future())
        self._calls[call.call_id] = call
        self.calls_total += 1
        invite = self._request(call, "INVITE", 1, call.branch, offer(local_rtp))
        await self._repeat(call, invite, call.answered, ANSWER_TIMEOUT_S)
        return call

    async def hang_up(self, call: Call) -> None:
        if not call.ended.done():
            bye = self._request(call, "BYE", 2, new_branch())
            await self._repeat(None, bye, call.ended, BYE_TIMEOUT_S)
        self._calls.pop(call.call_id, None)

    async def _repeat(
        self, call: Call | None, request: str, done: asyncio.Future[None], timeout_s: float
    ) -> None:
        """Send until answered, at growing distances (RFC 3261 section 17.1)."""
        interval_s = T1_S
        async with asyncio.timeout(timeout_s):
            while not done.done():
                if call is None or not call.proceeding:
                    self._send(request)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(done), interval_s)
                interval_s = min(interval_s * 2, 4.0)
        done.result()

    def _send(self, text: str, to: tuple[str, int] = (ports.HOST, ports.SIP)) -> None:
        self._transport.sendto(text.encode(), to)

    def _request(self, call: Call, method: str, cseq: int, branch: str, body: str = "") -> str:
        remote_tag = f";tag={call.remote_tag}" if call.remote_tag else ""
        here = f"{ports.HOST}:{ports.CALLER}"
        lines = [
            f"{method} {call.target} SIP/2.0",
            f"Via: SIP/2.0/UDP {here};rport;branch={branch}",
            "Max-Forwards: 70",
            f"From: <sip:+1555{call.number:07d}@{ports.HOST}>;tag={call.tag}",
            f"To: <sip:bench@{ports.HOST}>{remote_tag}",
            f"Call-ID: {call.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:caller@{here}>",
            "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS",
        ]
        if body:
            lines.append("Content-Type: application/sdp")
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        text = data.decode(errors="replace")
        call = self._calls.get(header(text, "Call-ID"))
        if not text.startswith("SIP/2.0"):
            self._answer(text, call, addr)
        elif call is not None:
            self._take_response(call, int(text.split(" ", 2)[1]), text)

    def _answer(self, request: str, call: Call | None, addr: tuple[str, int]) -> None:
        """Agree to whatever the server asks within a call; only a BYE means something."""
        method = request.split(" ", 1)[0]
        if method == "ACK":
            return
        copied = [f"{name}: {header(request, name)}" for name in ("Via", "From", "To", "Call-ID", "CSeq")]
        self._send("\r\n".join(["SIP/2.0 200 OK", *copied, "Content-Length: 0", "", ""]), addr)
        if method == "BYE" and call is not None and not call.ended.done():
            call.ended.set_result(None)

    def _take_response(self, call: Call, status: int, text: str) -> None:
        method = header(text, "CSeq").split()[-1]
        if status < 200:
            call.proceeding = True
        elif method == "BYE":
            if not call.ended.done():
                call.ended.set_result(None)
        elif method == "INVITE":
            self._take_answer(call, status, text)

    def _take_answer(self, call: Call, status: int, text: str) -> None:
        call.remote_tag = first(r"tag=([^;>\s]+)", header(text, "To"))
        if status < 300:
            call.target = first(r"<([^>]+)>", header(text, "Contact"))
            call.remote_rtp = int(first(r"m=audio (\d+)", text))
        # The ACK of a refusal belongs to the INVITE's transaction (RFC 3261 section 17.1.1.3).
        self._send(self._request(call, "ACK", 1, new_branch() if status < 300 else call.branch))
        if call.answered.done():
            return
        if status < 300:
            call.answered.set_result(None)
        else:
            call.answered.set_exception(RuntimeError(f"refused with {status}"))


def offer(rtp_port: int) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {ports.HOST}\r\ns=-\r\nc=IN IP4 {ports.HOST}\r\nt=0 0\r\n"
        f"m=audio {rtp_port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
    )


def header(message: str, name: str) -> str:
    return first(rf"(?im)^{name}:[ \t]*(.*?)\r$", message)


def first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""


async def open_caller() -> Caller:
    loop = asyncio.get_running_loop()
    _, caller = await loop.create_datagram_endpoint(Caller, local_addr=(ports.HOST, ports.CALLER))
    return caller
