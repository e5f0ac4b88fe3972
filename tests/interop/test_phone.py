"""The simulated phone against a second SIP endpoint on loopback; its media engine is the fake one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from offhook.base.errors import ConfigError
from offhook.edge.media.fake import FakeEngine
from offhook.edge.sip import Listen, SipServer
from offhook.kit.audio import Sound
from offhook.kit.phone import CallPlan, CallResult, Phone, PhoneError, PhoneEvent, bind_address_for
from offhook.proto import sip
from offhook.proto.sdp import SessionDescription, make_answer, negotiate

pytestmark = pytest.mark.interop


@dataclass
class Callee:
    """Answers calls as the test says; keeps what it saw."""

    answer: str = "accept"
    seen: list[sip.UserAgentEvent] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    established: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.server = SipServer(sip.UserAgentConfig(), self.on_event)

    def on_event(self, event: sip.UserAgentEvent) -> None:
        self.seen.append(event)
        if isinstance(event, sip.CallEstablished):
            self.established.set()
        if isinstance(event, sip.CallEnded | sip.CallCancelled):
            self.over.set()
        if not isinstance(event, sip.IncomingCall):
            return
        self.heard.set()
        match self.answer:
            case "accept":
                self.server.ring(event.call)
                self.server.accept(event.call, self.sdp(event.sdp or b""))
            case "busy":
                self.server.reject(event.call, 486)
            case "nonsense":
                self.server.accept(event.call, b"this is no session description")
            case _:
                self.server.ring(event.call)

    def sdp(self, offer: bytes) -> bytes:
        parsed = SessionDescription.parse(offer)
        media = negotiate(parsed, ("PCMU", "PCMA"))
        assert media is not None
        return make_answer(
            parsed, media, address="127.0.0.1", rtp_port=41_998, rtcp_port=41_999, session_id=1
        )

    @property
    def call(self) -> sip.CallHandle:
        return next(event.call for event in self.seen if isinstance(event, sip.IncomingCall))

    async def ended(self) -> None:
        async with asyncio.timeout(30):
            await self.over.wait()

    def saw(self, kind: type[sip.UserAgentEvent]) -> bool:
        return any(isinstance(event, kind) for event in self.seen)


@dataclass
class Scene:
    """A phone, a callee, and the fake engine's clock running."""

    phone: Phone
    callee: Callee
    engine: FakeEngine
    uri: str
    events: list[PhoneEvent] = field(default_factory=list)

    async def call(self, plan: CallPlan, meanwhile: Callable[[], None] | None = None) -> CallResult:
        async with asyncio.timeout(30):
            running = asyncio.ensure_future(self.phone.call(plan, on_event=self.events.append))
            while not running.done():
                if meanwhile is not None and self.engine.legs:
                    meanwhile()
                self.engine.advance(20)
                await asyncio.sleep(0.001)
            return await running

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


@asynccontextmanager
async def scene(answer: str = "accept", transport: sip.Transport = "udp") -> AsyncIterator[Scene]:
    callee, engine = Callee(answer), FakeEngine()
    await callee.server.start([Listen(transport, "127.0.0.1", 0)])
    uri = f"sip:app@127.0.0.1:{callee.server.bound[0].port};transport={transport}"
    phone = Phone(engine=engine)
    engine.attach(asyncio.get_running_loop(), phone.on_media_event)
    try:
        async with phone:
            yield Scene(phone, callee, engine, uri)
    finally:
        await callee.server.close()
    engine.drain()
    engine.assert_no_leaks()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_call_plays_its_audio_and_hangs_up(transport: sip.Transport) -> None:
    async with scene(transport=transport) as here:
        result = await here.call(CallPlan(uri=here.uri, play=Sound(b"\1\0" * 1_600, 8_000), tail_s=0.01))
        assert (result.outcome, result.ended_by, result.codec) == ("answered", "local", "PCMU")
        assert here.kinds == ["dialing", "ringing", "answered", "playing", "played", "hangup"]
        assert result.stats is not None
        assert result.stats["packets_sent"] >= 10
        await here.callee.ended()


async def test_digits_follow_the_audio() -> None:
    async with scene() as here:
        pressed: list[str] = []

        def look() -> None:
            pressed.append(next(iter(here.engine.legs.values())).digits_sent)

        plan = CallPlan(uri=here.uri, play=Sound(bytes(320), 8_000), digits="12#", tail_s=0)
        await here.call(plan, meanwhile=look)
        assert pressed[-1] == "12#"
        assert here.kinds.index("played") < here.kinds.index("pressed")


async def test_what_is_heard_is_recorded_in_order() -> None:
    heard = bytearray()
    async with scene() as here:
        fed = False

        def speak() -> None:
            nonlocal fed
            if not fed and "answered" in here.kinds:
                fed = True
                here.engine.feed_pcm(next(iter(here.engine.legs)), b"\0\x10" * 1_600)

        await here.call(CallPlan(uri=here.uri, record=heard.extend, duration_s=0.2), meanwhile=speak)
    assert len(heard) >= 3_200
    assert max(heard[1:3_200:2]) in (0x0F, 0x10)


async def test_the_duration_ends_the_call() -> None:
    async with scene() as here:
        result = await here.call(CallPlan(uri=here.uri, duration_s=0.1))
    assert result.ended_by == "local"
    assert result.duration_s >= 0.09


async def test_the_other_side_may_hang_up() -> None:
    async with scene() as here:
        done = False

        def hang_up() -> None:
            nonlocal done
            if not done and here.callee.established.is_set():
                done = True
                here.callee.server.hangup(here.callee.call)

        result = await here.call(CallPlan(uri=here.uri), meanwhile=hang_up)
    assert (result.outcome, result.ended_by) == ("answered", "remote")


async def test_a_busy_line_is_told_with_its_status() -> None:
    async with scene("busy") as here:
        result = await here.call(CallPlan(uri=here.uri))
    assert (result.outcome, result.status, result.ended_by) == ("rejected", 486, "")
    assert here.kinds == ["dialing", "rejected"]


async def test_nobody_answers_and_the_phone_gives_up_with_cancel() -> None:
    async with scene("ring only") as here:
        result = await here.call(CallPlan(uri=here.uri, ring_timeout_s=0.2))
        assert (result.outcome, result.reason) == ("no answer", "nobody answered")
        await here.callee.ended()
        assert here.callee.saw(sip.CallCancelled)


async def test_the_phone_hangs_up_when_told_to_before_and_after_the_answer() -> None:
    for answer, outcome in (("ring only", "no answer"), ("accept", "answered")):
        async with scene(answer) as here:
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(0.1, stop.set)
            async with asyncio.timeout(30):
                result = await here.phone.call(CallPlan(uri=here.uri), hang_up_when=stop)
            assert result.outcome == outcome
            await here.callee.ended()


async def test_cancelling_an_answered_call_hangs_up() -> None:
    async with scene() as here:
        running = asyncio.ensure_future(here.phone.call(CallPlan(uri=here.uri)))
        async with asyncio.timeout(30):
            await here.callee.established.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await here.callee.ended()
        assert here.callee.saw(sip.CallEnded)


async def test_an_answer_without_audio_ends_the_call() -> None:
    async with scene("nonsense") as here:
        result = await here.call(CallPlan(uri=here.uri))
    assert (result.outcome, result.status) == ("failed", 488)


async def test_the_callers_number_and_codecs_are_what_the_plan_says() -> None:
    async with scene() as here:
        result = await here.call(
            CallPlan(uri=here.uri, caller="+15550100", codecs=("PCMA",), duration_s=0.01)
        )
        incoming = here.callee.seen[0]
        assert isinstance(incoming, sip.IncomingCall)
        assert incoming.from_uri.startswith("sip:+15550100@127.0.0.1:")
    assert result.codec == "PCMA"


async def test_a_host_without_an_address_is_one_sentence() -> None:
    async with scene() as here:
        with pytest.raises(PhoneError, match="not found"):
            await here.phone.call(CallPlan(uri="sip:a@no-such-host.invalid"))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"uri": "alice"}, "not a SIP URI"),
        ({"uri": "tel:+15550100"}, "not a SIP URI"),
        ({"uri": "sip:a@host;transport=ws"}, "udp and tcp"),
        ({"uri": "sip:a@host", "codecs": ("SPEEX",)}, "PCMA, G722, OPUS, AMR-WB, L16, not SPEEX"),
        ({"uri": "sip:a@host", "codecs": ()}, "not nothing"),
        ({"uri": "sip:a@host", "digits": "12x"}, "Digits are"),
        ({"uri": "sip:a@host", "caller": "a b"}, "caller"),
        ({"uri": "sip:a@host", "caller": "a@b"}, "caller"),
        ({"uri": "sip:a@host", "caller": "a\r\nX: y"}, "caller"),
        ({"uri": "sip:a@host", "caller": ""}, "caller"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_in_one_sentence(fields: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        CallPlan(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sip:a@127.0.0.1:5060", "127.0.0.1"),
        ("sip:a@localhost", "127.0.0.1"),
        ("sip:a@192.0.2.1", "0.0.0.0"),
        ("sip:a@example.org", "0.0.0.0"),
        ("sip:a@[::1]:5060", "::1"),
        ("sip:a@[2001:db8::1]", "::"),
        ("nonsense", "127.0.0.1"),
    ],
)
def test_loopback_is_called_from_loopback(uri: str, address: str) -> None:
    assert bind_address_for(uri) == address
