"""A thousand calls through everything but sockets and native code, over a network that loses packets.

Real: both SIP user agents, call legs, runners, taps, the scripted speech engine. Simulated: time, the
network, the media core (its fake), the outbox. Each caller and the app behave at random.
"""

import asyncio
import random
import struct
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from offhook.app.applications import Applications
from offhook.app.calls import Calls
from offhook.app.services import Services
from offhook.app.settings import load_settings
from offhook.base.ids import CallControlIds
from offhook.call import commands as ask
from offhook.call.errors import CommandError
from offhook.call.values import Track, UdpTarget
from offhook.edge.egress import Egress
from offhook.edge.http.service import UnknownCall
from offhook.edge.media.fake import FakeEngine, FakeStream
from offhook.edge.speech.service import SpeechService
from offhook.proto import sip
from offhook.proto.sdp import SessionDescription, make_answer, make_offer, negotiate
from offhook.proto.ssml import Pause, Words
from tests.fakes.network import SimulatedNetwork, SimulatedSip, Weather
from tests.fakes.outbox import RecordedOutbox
from tests.fakes.virtual_time import VirtualTimeLoop, run_simulation
from tests.fakes.voice import VoiceInMemory

pytestmark = [pytest.mark.sim, pytest.mark.timeout(120)]

SERVER = ("192.0.2.1", 5060)
CALLER = ("192.0.2.2", 5060)

CALLS = 1_000

AUDIO = bytes(3_200)
"""200 ms of silence, s16le at 8 kHz."""

TEXT = (Words("thank you"), Pause(300), Words("for calling"))
WAV = (
    b"RIFF"
    + struct.pack(
        "<I4s4sIHHIIHH4sI", 16_036, b"WAVE", b"fmt ", 16, 1, 1, 8_000, 16_000, 2, 16, b"data", 16_000
    )
    + bytes(16_000)
)
"""A second of silence as a file."""

STARTED_BY = {
    "streaming.stopped": "streaming.started",
    "call.fork.stopped": "call.fork.started",
}


def agreed_with(offer: bytes) -> bytes:
    """Return a phone's answer to an offer."""
    theirs = SessionDescription.parse(offer)
    agreed = negotiate(theirs, ("PCMU",))
    assert agreed is not None
    return make_answer(
        theirs, agreed, address=CALLER[0], rtp_port=40_002, rtcp_port=40_003, session_id=1, version=1
    )


class Simulation:
    """One server, one crowd of callers, one app."""

    def __init__(self, loop: VirtualTimeLoop, seed: int, weather: Weather) -> None:
        self.loop = loop
        self.random = random.Random(seed)
        self.network = SimulatedNetwork(loop, seed, weather)
        self.outbox = RecordedOutbox(delay_s=0.003, on_event=self._app)
        self.media = FakeEngine(port_range=(20_000, 29_999))
        self.voice = VoiceInMemory(speaks_per_worker_max=1_000)
        self.refusals: Counter[str] = Counter()
        self.verdicts: dict[sip.CallHandle, list[str]] = {}
        self.up: set[str] = set()
        self.sip = SimulatedSip(
            self.network, loop, SERVER, lambda event: self.calls.on_sip_event(event), seed=seed + 1
        )
        self.callers = SimulatedSip(self.network, loop, CALLER, self._on_caller_event, seed=seed + 2)
        settings = load_settings(
            environment={"OFFHOOK_WEBHOOK_URL": "http://192.0.2.3/webhooks"},
            flags={"speech": {"default_engine": "scripted"}, "egress": {"allow_private": True}},
        )
        self.services = Services(
            settings=settings,
            clock=loop,
            sip=self.sip,  # type: ignore[arg-type]
            media=self.media,
            speech=SpeechService(
                default_engine="scripted",
                options={
                    "scripted": {
                        "script": [{"at_ms": 200, "text": "hello", "is_final": True, "confidence": 1.0}]
                    }
                },
            ),
            outbox=self.outbox,  # type: ignore[arg-type]
            egress=Egress(allow_private=True),
            applications=Applications(settings, loop),
            voice=self.voice,
        )
        self.calls = Calls(
            self.services,
            call_control_ids=CallControlIds(b"node-sim", b"s" * 32),
            user_id="00000000-0000-4000-8000-000000000000",
            public_keys=dict,
        )
        self.media.attach(loop, self.calls.on_media_event)

    def dial(self, number: int) -> None:
        """Let one caller call; some give up while it rings."""
        sdp = make_offer(
            ["PCMU"], address=CALLER[0], rtp_port=40_000, rtcp_port=40_001, session_id=number + 1
        )
        call = self.callers.agent.invite(
            sip.OutgoingCall(
                f"sip:+1555{number:07d}@{SERVER[0]}",
                "sip:+15550000000@example.test",
                self.callers.flow_to(SERVER),
            ),
            sdp,
            self.loop.time(),
        )
        self.verdicts[call] = []
        self.callers.pump()
        if self.random.random() < 0.1:
            self.loop.call_later(self.random.uniform(0.0, 1.0), self._give_up, call)

    def _give_up(self, call: sip.CallHandle) -> None:
        with suppress(sip.CallStateError):
            self.callers.hangup(call)

    def _on_caller_event(self, event: sip.UserAgentEvent) -> None:
        match event:
            case sip.CallAccepted():
                if self.random.random() < 0.5:
                    self.loop.call_later(self.random.uniform(0.0, 8.0), self._give_up, event.call)
            case sip.IncomingCall():
                self._called(event)
            case sip.OfferReceived(sdp=sdp) if sdp is not None:
                with suppress(sip.CallStateError):
                    self.callers.answer_offer(event.call, agreed_with(sdp))
            case sip.CallRejected() | sip.CallEnded() | sip.CallCancelled():
                self.verdicts[event.call].append(type(event).__name__)
            case _:
                pass

    def _called(self, call: sip.IncomingCall) -> None:
        """Take a call that was made for another one, refuse it, or let it ring."""
        self.verdicts[call.call] = []
        self.callers.ring(call.call)
        choice = self.random.random()
        delay_s = self.random.uniform(0.0, 2.0)
        if choice < 0.6 and call.sdp is not None:
            self.loop.call_later(delay_s, self._pick_up, call.call, agreed_with(call.sdp))
        elif choice < 0.8:
            self.loop.call_later(delay_s, self._refuse, call.call)

    def _pick_up(self, call: sip.CallHandle, sdp: bytes) -> None:
        with suppress(sip.CallStateError):
            self.callers.accept(call, sdp)
            self.loop.call_later(self.random.uniform(0.0, 8.0), self._give_up, call)

    def _refuse(self, call: sip.CallHandle) -> None:
        with suppress(sip.CallStateError):
            self.callers.reject(call, 486)

    # The app

    def _join(self, call: str) -> None:
        """Bridge a call to another one, or transfer it."""
        others = [other for other in self.up if other != call]
        after = self.random.choice(list(ask.AfterBridge))
        if others and self.random.random() < 0.6:
            options = ask.BridgeOptions(other=self.random.choice(others), after=after)
            self._ask(call, ask.Bridge(bridge=options))
            return
        plan = ask.Dial(
            connection_id="",
            to=(f"sip:bob@{CALLER[0]}:{CALLER[1]}",),
            caller="",
            timeout_s=5.0,
            bridge=ask.BridgeOptions(other="", transfers=True, early_media=True),
        )
        self._ask(call, ask.Transfer(plan=plan, after=after))

    def _app(self, event_type: str, payload: dict[str, Any]) -> None:
        call = payload["call_control_id"]
        delay_s = self.random.uniform(0.0, 0.3)
        if event_type == "call.initiated":
            first: ask.Command = ask.Answer(silence_when_idle=True)
            if self.random.random() < 0.1:
                first = ask.Reject(cause=self.random.choice(list(ask.RejectCause)))
            self.loop.call_later(delay_s, self._ask, call, first)
        elif event_type == "call.hangup":
            self.up.discard(call)
        elif event_type == "call.answered":
            self.up.add(call)
            if self.random.random() < 0.4:
                self.loop.call_later(self.random.uniform(0.0, 3.0), self._join, call)
            for command in self._plan():
                self.loop.call_later(self.random.uniform(0.0, 3.0), self._ask, call, command)
            self.loop.call_later(self.random.uniform(4.0, 10.0), self._ask, call, ask.Hangup())
            if self.random.random() < 0.4:
                self.loop.call_later(self.random.uniform(0.0, 5.0), self._disturb, call)

    def _plan(self) -> list[ask.Command]:
        target = UdpTarget("192.0.2.9", 7000)
        stream = ask.StreamOptions(url="ws://192.0.2.8/media", tracks=(Track.RX, Track.TX))
        possible: list[ask.Command] = [
            ask.StartStream(stream=stream, command_id="s"),
            ask.StartStream(stream=stream, command_id="s"),
            ask.StartStream(stream=stream),
            ask.StopStream(),
            ask.StartFork(rx=target, tx=target),
            ask.StopFork(),
            ask.StartTranscription(transcription=ask.TranscriptionOptions(tracks=(Track.RX, Track.TX))),
            ask.StopTranscription(),
            ask.UpdateClientState(client_state="c3RhdGU="),
            ask.StartPlayback(playback=ask.PlaybackOptions(content=WAV, loop=self.random.randint(1, 9))),
            ask.StartPlayback(playback=ask.PlaybackOptions(content=WAV, loop=None)),
            ask.StartPlayback(playback=ask.PlaybackOptions(content=WAV), stop=ask.StopWhich.ALL),
            ask.StartPlayback(playback=ask.PlaybackOptions(content=WAV, overlay=True, loop=2)),
            ask.Speak(speak=ask.SpeakOptions(script=TEXT, voice="female", loop=self.random.randint(1, 9))),
            ask.Speak(speak=ask.SpeakOptions(script=TEXT, voice="female", loop=None)),
            ask.Speak(speak=ask.SpeakOptions(script=TEXT, voice="female"), stop=ask.StopWhich.CURRENT),
            ask.StopPlayback(stop=ask.StopWhich.CURRENT),
            ask.StopPlayback(overlay=True),
            ask.SendDigits(digits="12w#"),
        ]
        return self.random.sample(possible, self.random.randint(0, len(possible)))

    def _ask(self, call_control_id: str, command: ask.Command) -> None:
        try:
            self.calls.command(call_control_id, type(command).__name__, command)
        except (CommandError, UnknownCall) as error:
            self.refusals[str(error)[:5]] += 1

    def _disturb(self, call_control_id: str) -> None:
        """Let the app close one of the call's sockets, or let the network cut it."""
        runner = self.calls._runners.get(call_control_id)
        leg = None if runner is None else self.media.legs.get(runner.media_leg_id)
        for tap in () if leg is None else tuple(leg.taps.values()):
            if isinstance(tap, FakeStream):
                if self.random.random() < 0.5:
                    self.media.app_closes(leg.leg_id, tap.tap_id)
                else:
                    self.media.fail_stream(leg.leg_id, tap.tap_id, "connection_lost")
                return

    def _hear(self) -> None:
        """Let 200 ms of audio pass on every leg."""
        for leg_id in tuple(self.media.legs):
            self.media.feed_pcm(leg_id, AUDIO)
        self.media.advance(200)
        self.loop.call_later(0.2, self._hear)

    async def run(self, count: int) -> None:
        """Place `count` calls at 50 a second and wait until nothing is left of them."""
        for number in range(count):
            self.loop.call_later(number * 0.02, self.dial, number)
        self._hear()
        await asyncio.sleep(count * 0.02 + 60)
        await self.calls.wait_until_none()
        # 64*T1 for the last answers to be absorbed, twice, because a BYE may have come late.
        await asyncio.sleep(70)
        await self.services.speech.close()


@pytest.mark.parametrize(("seed", "loss"), [(1, 0.05), (2, 0.2)])
def test_a_thousand_calls_keep_every_promise_and_leave_nothing(seed: int, loss: float) -> None:
    loop = VirtualTimeLoop()
    sim = Simulation(loop, seed, Weather(loss=loss, duplication=0.02, delay_ms=(1.0, 60.0)))
    run_simulation(sim.run(CALLS), loop)

    assert len(sim.verdicts) > CALLS, "some were called, too"
    assert all(len(told) == 1 for told in sim.verdicts.values()), "each caller hears exactly one verdict"
    for leg, events in sim.outbox.by_leg.items():
        check_promises(leg, events)
    kinds = Counter(event_type for events in sim.outbox.by_leg.values() for event_type, _ in events)
    for kind in (
        "streaming.started",
        "streaming.failed",
        "call.fork.started",
        "call.transcription",
        "call.playback.ended",
        "call.speak.ended",
        "call.bridged",
    ):
        assert kinds[kind] > 20, f"the simulation must exercise {kind}: {kinds}"
    assert kinds["call.hangup"] == kinds["call.initiated"] == len(sim.outbox.by_leg)

    assert len(sim.calls) == len(sim.calls._bridges) == 0
    assert not sim.calls._bridges._ringing
    assert len(sim.services.tasks) == 0, "tasks"
    sim.media.assert_no_leaks()
    assert sim.voice.open == 0, "texts"
    assert sim.services.sounds.in_use_bytes == len(sim.services.plays) == 0, "sounds"
    assert sim.services.speech.counters()["sessions_open"] == 0, "recognisers"
    assert sim.sip.agent.is_idle(), "server's SIP"
    assert sim.callers.agent.is_idle(), "callers' SIP"


def check_promises(leg: str, events: list[tuple[str, dict[str, Any]]]) -> None:
    """Assert the promises about the webhooks of one leg."""
    types = [event_type for event_type, _ in events]
    assert types[0] == "call.initiated", leg
    assert types.count("call.hangup") == 1, leg
    assert types[-1] == "call.hangup", f"nothing may follow the hangup: {types}"
    assert types.count("call.answered") <= 1, leg
    for sound in ("playback", "speak"):
        assert types.count(f"call.{sound}.started") <= types.count(f"call.{sound}.ended"), types
    streams: dict[str, list[str]] = {}
    for event_type, payload in events:
        if event_type.startswith("streaming."):
            streams.setdefault(payload["stream_id"], []).append(event_type.removeprefix("streaming."))
    for told in streams.values():
        assert told in (["started", "stopped"], ["started", "failed"], ["failed"]), told
    for stopped, started in STARTED_BY.items():
        if started == "call.fork.started":
            assert types.count(started) == types.count(stopped), types
