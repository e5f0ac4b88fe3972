"""A user agent on a bench: raw requests in, parsed messages out."""

import random

from offhook.proto.sip import (
    CallHandle,
    Flow,
    IncomingCall,
    Request,
    Response,
    UserAgent,
    UserAgentConfig,
    UserAgentEvent,
    parse_message,
)

US = ("192.0.2.10", 5060)
PEER = ("198.51.100.7", 5062)
UDP = Flow("udp", US, PEER)
TCP = Flow("tcp", US, PEER, 1)
SDP = b"v=0\r\n"


class Bench:
    """One user agent and everything that came out of it since the last look."""

    def __init__(self, config: UserAgentConfig | None = None) -> None:
        self.agent = UserAgent(config or UserAgentConfig(), random.Random(7).randbytes)
        self.now = 0.0
        self.told: list[UserAgentEvent] = []

    def send(self, text: str | bytes, flow: Flow = UDP) -> list[Request | Response]:
        data = text if isinstance(text, bytes) else text.encode()
        self.agent.receive(data, flow, self.now)
        return self.out()

    def out(self) -> list[Request | Response]:
        self.told.extend(self.agent.events())
        return [parse_message(transmit.data) for transmit in self.agent.transmits()]

    def wait(self, seconds: float) -> list[Request | Response]:
        """Let time pass, firing timers in their order."""
        end = self.now + seconds
        out: list[Request | Response] = []
        while (due := self.agent.poll_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.agent.handle_timeout(self.now)
            out.extend(self.out())
        self.now = end
        return out

    def status(self, text: str | bytes, flow: Flow = UDP) -> int | None:
        """Send and return the status of the only answer, None without one."""
        out = self.send(text, flow)
        assert len(out) <= 1
        return getattr(out[0], "status", None) if out else None

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.told]

    def incoming(self) -> CallHandle:
        return next(event.call for event in self.told if isinstance(event, IncomingCall))

    def answered_call(self, call_id: str = "c1") -> "Peer":
        """Take a call up to its ACK; return the far end of it."""
        self.send(request("INVITE", call_id=call_id, body=SDP))
        self.agent.accept(self.incoming(), SDP, self.now)
        tag = self.out()[-1].to.tag
        peer = Peer(call_id, tag)
        self.send(peer.request("ACK", cseq=1))
        self.told.clear()
        return peer


def answer(asked: Request, status: int, *, extra: str = "") -> str:
    """Answer a request of ours inside its dialog."""
    return (
        f"SIP/2.0 {status} Words\r\nVia: {asked.get('via')}\r\nFrom: {asked.get('from')}\r\n"
        f"To: {asked.get('to')}\r\nCall-ID: {asked.call_id}\r\n"
        f"CSeq: {asked.cseq.number} {asked.cseq.method}\r\n{extra}\r\n"
    )


class Peer:
    """The far end of a dialog, as raw text."""

    def __init__(self, call_id: str, tag: str) -> None:
        self.call_id = call_id
        self.tag = tag
        self.branches = 0

    def request(
        self, method: str, *, cseq: int, body: bytes = b"", extra: str = "", kind: str = "application/sdp"
    ) -> str:
        self.branches += 1
        return request(
            method, call_id=self.call_id, to_tag=self.tag, cseq=cseq, branch=f"d{self.branches}{method}",
            body=body, extra=extra, kind=kind,
        )  # fmt: skip


def request(
    method: str,
    *,
    uri: str = "sip:bob@192.0.2.10",
    call_id: str = "c1",
    branch: str = "b1",
    to_tag: str = "",
    from_tag: str = "f1",
    cseq: int = 1,
    cseq_method: str | None = None,
    extra: str = "",
    body: bytes = b"",
    via: str | None = None,
    contact: str = "Contact: <sip:alice@198.51.100.7:5062>\r\n",
    kind: str = "application/sdp",
) -> str:
    to = f";tag={to_tag}" if to_tag else ""
    via = via or f"SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bK{branch}"
    content = f"Content-Type: {kind}\r\n" if body else ""
    return (
        f"{method} {uri} SIP/2.0\r\nVia: {via}\r\n"
        f'From: "Alice" <sip:alice@example.com>;tag={from_tag}\r\nTo: <sip:bob@example.com>{to}\r\n'
        f"Call-ID: {call_id}\r\nCSeq: {cseq} {cseq_method or method}\r\nMax-Forwards: 70\r\n"
        f"{contact}{extra}{content}Content-Length: {len(body)}\r\n\r\n{body.decode()}"
    )
