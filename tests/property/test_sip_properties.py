"""Promises of the SIP room over generated input."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.proto.sip import (
    CallStateError,
    Flow,
    IncomingCall,
    StreamFramer,
    UserAgent,
    UserAgentConfig,
    parse_message,
)
from offhook.proto.sip.framing import Broken, Oversized
from offhook.proto.sip.message import Request, Response
from offhook.proto.sip.values import (
    Address,
    SipSyntaxError,
    SipUri,
    Via,
    quote,
    readable,
    split_values,
    unquote,
)

pytestmark = pytest.mark.property

UDP = Flow("udp", ("192.0.2.10", 5060), ("198.51.100.7", 5062))
TCP = Flow("tcp", ("192.0.2.10", 5060), ("198.51.100.7", 5062), 1)
TOKEN = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=12)
VALUE = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n"), max_size=40).map(
    lambda text: text.strip(" \t").strip()
)
FIELDS = st.lists(
    st.tuples(TOKEN.filter(lambda name: len(name) > 1 and name.lower() != "content-length"), VALUE),
    max_size=8,
)

PIECES = st.sampled_from(
    [
        "INVITE", "BYE", "CANCEL", "ACK", "OPTIONS", "INFO", "UPDATE", "sip:bob@192.0.2.10", "SIP/2.0", "200 OK", " ",
        "\r\n", "\n", "\r\n\r\n", "Via: SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bKx;rport", "From: <sip:a@b>;tag=1",
        "To: <sip:c@d>", "To: <sip:c@d>;tag=2", "Call-ID: i", "CSeq: 1 INVITE", "CSeq: 2 BYE", "Contact: <sip:a@b>",
        "Content-Length: 5", "Content-Length: -1", "Content-Type: application/sdp", "Require: x", '"', "<", ">", ";",
        ",", "\\", "\0", "\xff", "v=0", "l:", ":", "Record-Route: <sip:p;lr>", "z" * 9000, "Max-Forwards: 0",
    ]
)  # fmt: skip
NEARLY_SIP = st.lists(PIECES, max_size=40).map(lambda parts: "".join(parts).encode("latin-1"))


@given(st.binary(max_size=2_000) | NEARLY_SIP)
def test_no_bytes_raise_out_of_the_user_agent_and_only_calls_keep_state(data: bytes) -> None:
    agent = UserAgent(UserAgentConfig(), random.Random(1).randbytes)
    for flow in (UDP, TCP):
        agent.receive(data, flow, 0.0)
        for transmit in agent.transmits():
            assert isinstance(parse_message(transmit.data), Response)
        agent.receive(data, flow, 0.1)
    calls = [event for event in agent.events() if isinstance(event, IncomingCall)]
    assert agent.is_idle() or calls
    for event in calls:
        for text in (
            event.from_uri,
            event.to_uri,
            event.from_display,
            *(v for h in event.headers for v in h),
        ):
            text.encode()


@given(TOKEN, FIELDS, st.binary(max_size=50))
def test_a_written_request_reads_back(method: str, fields: list[tuple[str, str]], body: bytes) -> None:
    again = parse_message(Request(method, "sip:x@y", fields, body).to_bytes())
    assert isinstance(again, Request)
    assert (again.method, again.uri, again.body) == (method, "sip:x@y", body)
    assert again.fields == [*fields, ("Content-Length", str(len(body)))]
    assert again.defect is None


@given(st.integers(100, 699), VALUE.filter(lambda text: "\n" not in text), FIELDS)
def test_a_written_response_reads_back(status: int, reason: str, fields: list[tuple[str, str]]) -> None:
    again = parse_message(Response(status, reason, fields).to_bytes())
    assert isinstance(again, Response)
    assert again.status == status
    assert again.fields[:-1] == fields


@given(st.binary(max_size=300))
def test_header_bytes_survive_reading_and_writing(raw: bytes) -> None:
    line = raw.replace(b"\r", b"").replace(b"\n", b"").strip()
    message = parse_message(b"OPTIONS sip:x SIP/2.0\r\nSubject: " + line + b"\r\n\r\n")
    value = message.get("subject") or ""
    readable(value).encode()
    assert value.encode("utf-8", "surrogateescape").strip() == line.decode(
        "utf-8", "surrogateescape"
    ).strip().encode("utf-8", "surrogateescape")


@given(st.text(max_size=60))
def test_values_read_or_refuse_and_do_nothing_else(text: str) -> None:
    for read in (SipUri.parse, Address.parse, Via.parse):
        try:
            read(text)
        except SipSyntaxError:
            continue


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30))
def test_a_quoted_display_name_reads_back(text: str) -> None:
    assert unquote(quote(text)) == text
    assert Address.parse(f"{quote(text)} <sip:a@b>;tag=1") == Address(text, "sip:a@b", {"tag": "1"})
    assert split_values(f"{quote(text)} <sip:a@b>, <sip:c@d>") == [f"{quote(text)} <sip:a@b>", "<sip:c@d>"]


@given(
    st.lists(st.tuples(TOKEN, st.binary(max_size=40)), min_size=1, max_size=5), st.lists(st.integers(1, 60))
)
def test_a_stream_is_cut_the_same_wherever_reads_end(
    messages: list[tuple[str, bytes]], sizes: list[int]
) -> None:
    whole = [Request(method, "sip:x", [("X", "y")], body).to_bytes() for method, body in messages]
    data = b"".join(whole)
    framer, items = StreamFramer(), []
    for size in sizes:
        items.extend(framer.feed(data[:size]))
        data = data[size:]
    items.extend(framer.feed(data))
    assert items == whole


@given(st.lists(st.binary(max_size=200) | NEARLY_SIP, max_size=10))
def test_a_stream_of_anything_never_raises_and_stays_bounded(reads: list[bytes]) -> None:
    framer = StreamFramer()
    ended = False
    for data in reads:
        items = framer.feed(data)
        assert not (ended and items)
        ended = ended or any(isinstance(item, Broken | Oversized) for item in items)
        assert len(framer._buffer) <= 2 * 64 * 1024


STEPS = st.lists(
    st.sampled_from(
        ["invite", "invite", "cancel", "ack", "bye", "reinvite", "update", "info", "ring", "accept", "accept", "reject",
         "hangup", "answer", "refuse", "offer", "wait", "wait_long", "ok", "fail"]
    ),
    max_size=25,
)  # fmt: skip


@given(STEPS)
def test_no_history_breaks_the_grammar_of_events_or_leaves_anything(steps: list[str]) -> None:
    history = History()
    for step in steps:
        history.play(step)
    history.finish()
    for names in history.told.values():
        assert names[0] == "IncomingCall"
        assert sum(name in ("CallCancelled", "CallRejected", "CallEnded") for name in names) == 1
        assert names[-1] in ("CallCancelled", "CallRejected", "CallEnded")
        if names[-1] == "CallCancelled":
            assert "CallEstablished" not in names
    assert history.agent.is_idle()


class History:
    """Plays steps of a caller and of an application against one user agent, in any order."""

    def __init__(self) -> None:
        self.agent = UserAgent(UserAgentConfig(ring_timeout_s=60), random.Random(3).randbytes)
        self.now = 0.0
        self.told: dict[object, list[str]] = {}
        self.calls = 0
        self.cseq = 1
        self.tag = ""
        self.asked: Request | None = None

    def play(self, step: str) -> None:
        call = next(reversed(self.told), None)
        match step:
            case "invite":
                self.calls += 1
                self.tag = ""
                self._request("INVITE", branch=f"i{self.calls}", cseq=1)
            case "cancel":
                self._request("CANCEL", branch=f"i{self.calls}", cseq=1)
            case "ack":
                self._request("ACK", cseq=self.cseq)
            case "bye" | "reinvite" | "update" | "info":
                self.cseq += 1
                self._request({"reinvite": "INVITE"}.get(step, step.upper()), cseq=self.cseq)
            case "wait" | "wait_long":
                self._wait(0.7 if step == "wait" else 40)
            case "ok" | "fail":
                self._respond(200 if step == "ok" else 486)
            case _ if call is not None:
                self._act(step, call)
        self._drain()

    def finish(self) -> None:
        for call in self.agent.calls:
            self.agent.hangup(call, self.now)
        self._drain()
        self._wait(300)

    def _act(self, step: str, call: object) -> None:
        agent, now = self.agent, self.now
        try:
            match step:
                case "ring":
                    agent.ring(call, now)
                case "accept":
                    agent.accept(call, b"v=0\r\n", now)
                case "reject":
                    agent.reject(call, 486, now)
                case "hangup":
                    agent.hangup(call, now)
                case "answer":
                    agent.answer_offer(call, b"v=0\r\n", now)
                case "refuse":
                    agent.refuse_offer(call, now)
                case "offer":
                    agent.reinvite(call, b"v=0\r\n", now)
        except CallStateError:
            return

    def _request(self, method: str, *, cseq: int, branch: str | None = None) -> None:
        to = f";tag={self.tag}" if self.tag and branch is None else ""
        branch = branch or f"{method}{self.calls}x{cseq}"
        sdp = "v=0\r\n" if method in ("INVITE", "UPDATE") else ""
        text = (
            f"{method} sip:b@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5062;branch=z9hG4bK{branch}\r\n"
            f"From: <sip:a@x>;tag=f\r\nTo: <sip:b@x>{to}\r\nCall-ID: c{self.calls}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:a@198.51.100.7:5062>\r\nContent-Type: application/sdp\r\n\r\n{sdp}"
        )
        self.agent.receive(text.encode(), UDP, self.now)

    def _respond(self, status: int) -> None:
        asked = self.asked
        if asked is not None:
            names = ("via", "from", "to", "call-id", "cseq")
            fields = [(name, asked.get(name) or "") for name in names]
            self.agent.receive(Response(status, "x", fields).to_bytes(), UDP, self.now)

    def _wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.agent.poll_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.agent.handle_timeout(self.now)
            self._drain()
        self.now = end

    def _drain(self) -> None:
        for transmit in self.agent.transmits():
            message = parse_message(transmit.data)
            if isinstance(message, Request):
                self.asked = message if message.method != "ACK" else self.asked
            elif message.cseq.method == "INVITE" and message.to.tag:
                self.tag = message.to.tag
        for event in self.agent.events():
            names = self.told.setdefault(event.call, [])
            names.append(type(event).__name__)
