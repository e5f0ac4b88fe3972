"""A registry of legs with everything around it in memory: what was done, in the order it was done."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from offhook.app.applications import Applications
from offhook.app.calls import Calls
from offhook.app.services import Services
from offhook.app.settings import load_settings
from offhook.base.clock import Clock
from offhook.base.ids import CallControlIds
from offhook.call.leg import CallLeg
from offhook.edge.egress import EgressUnresolved
from offhook.edge.media.engine import MediaError
from offhook.edge.media.fake import FakeEngine
from offhook.edge.speech.service import SpeechService
from offhook.edge.store import RecordingTable
from offhook.edge.voice.service import VoiceService
from offhook.proto import sip
from offhook.proto.sdp import make_offer
from tests.fakes.outbox import RecordedOutbox
from tests.fakes.voice import VoiceInMemory

SCRIPT = [{"at_ms": 100, "text": "hello", "is_final": True, "confidence": 1.0}]
WEBHOOKS = {"OFFHOOK_WEBHOOK_URL": "http://192.0.2.3/webhooks"}
OFFER = make_offer(["PCMU"], address="192.0.2.2", rtp_port=40_000, rtcp_port=40_001, session_id=1)


class HandClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at_s = 1_790_000_000.0

    def now(self) -> float:
        """Return what the test says."""
        return self.at_s

    def unix_time(self) -> float:
        """Return what the test says."""
        return self.at_s


class Journal:
    """What the edges were asked to do, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __call__(self, what: str) -> None:
        self.done.append(what)


class JournalledSip:
    """Takes what a `SipServer` takes and writes it down; `broken` methods raise instead."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.broken: set[str] = set()
        self.rejected: list[int] = []
        self.answers: list[bytes] = []
        self.offers: list[bytes] = []
        self.invites: list[tuple[sip.OutgoingCall, bytes]] = []
        self.handles: list[sip.CallHandle] = []
        self.hung_up: list[sip.CallHandle] = []
        self.farewells: list[sip.Headers] = []

    def _do(self, what: str) -> None:
        if what in self.broken:
            raise RuntimeError(f"{what} is broken")
        self._journal(what)

    def ring(self, call: sip.CallHandle) -> None:
        """As `SipServer.ring`."""
        del call
        self._do("ring")

    def accept(self, call: sip.CallHandle, sdp: bytes, *, headers: sip.Headers = ()) -> None:
        """As `SipServer.accept`."""
        del call, headers
        self.answers.append(sdp)
        self._do("accept")

    def reject(
        self, call: sip.CallHandle, status: int, *, reason: str | None = None, headers: sip.Headers = ()
    ) -> None:
        """As `SipServer.reject`."""
        del call, reason, headers
        self.rejected.append(status)
        self._do("reject")

    def hangup(self, call: sip.CallHandle, *, headers: sip.Headers = ()) -> None:
        """As `SipServer.hangup`."""
        self.hung_up.append(call)
        self.farewells.append(headers)
        self._do("hangup")

    def invite(self, call: sip.OutgoingCall, sdp: bytes) -> sip.CallHandle:
        """As `SipServer.invite`."""
        self._do("invite")
        self.invites.append((call, sdp))
        self.handles.append(sip.CallHandle(1000 + len(self.handles)))
        return self.handles[-1]

    def info(self, call: sip.CallHandle, content_type: str, body: bytes) -> None:
        """As `SipServer.info`."""
        del call
        self._do(f"info {content_type} {body.decode()}")

    def refer(
        self,
        call: sip.CallHandle,
        target: str,
        *,
        headers: sip.Headers = (),
        credentials: sip.Credentials | None = None,
    ) -> None:
        """As `SipServer.refer`."""
        del call
        self._do(f"refer {target} {headers} {credentials and credentials.username}")

    def forget_referral(self, call: sip.CallHandle) -> None:
        """As `SipServer.forget_referral`."""
        del call
        self._do("forget referral")

    def flow_at(self, transport: str, hosts: Sequence[str], port: int) -> sip.Flow:
        """As `SipServer.flow_at`."""
        del transport
        return sip.Flow("udp", ("192.0.2.1", 5060), (hosts[0], port))

    async def flow_to(self, uri: str) -> sip.Flow:
        """As `SipServer.flow_to`."""
        return sip.Flow("udp", ("192.0.2.1", 5060), ("192.0.2.77", sip.SipUri.parse(uri).port or 5060))

    def reinvite(self, call: sip.CallHandle, sdp: bytes) -> None:
        """As `SipServer.reinvite`."""
        del call
        self.offers.append(sdp)
        self._do("reinvite")

    def answer_offer(self, call: sip.CallHandle, sdp: bytes) -> None:
        """As `SipServer.answer_offer`."""
        del call, sdp
        self._do("answer offer")

    def refuse_offer(self, call: sip.CallHandle, status: int = 488) -> None:
        """As `SipServer.refuse_offer`."""
        del call, status
        self._do("refuse offer")


class JournalledEngine(FakeEngine):
    """The fake engine, whose calls are written down; without ports when `full`."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self.full = False

    def open_leg(self, leg_id: int, *, rtcp_mux: bool) -> tuple[int, int]:
        """As `FakeEngine.open_leg`."""
        if self.full:
            raise MediaError("no RTP port is free")
        self._journal("open leg")
        return super().open_leg(leg_id, rtcp_mux=rtcp_mux)

    def add_fork(self, leg_id: int, tap_id: int, **options: Any) -> None:
        """As `FakeEngine.add_fork`."""
        self._journal("add fork")
        super().add_fork(leg_id, tap_id, **options)

    def add_stream(self, leg_id: int, tap_id: int, **options: Any) -> None:
        """As `FakeEngine.add_stream`."""
        self._journal("add stream")
        super().add_stream(leg_id, tap_id, **options)

    def close_leg(self, leg_id: int) -> None:
        """As `FakeEngine.close_leg`."""
        self._journal("close leg")
        super().close_leg(leg_id)


class SlowEgress:
    """A name server that answers when the test lets it."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.asked = 0
        self.known = True

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        """As `Egress.resolve`."""
        self.asked += 1
        await self.answer.wait()
        if not self.known:
            raise EgressUnresolved(host, "no such name")
        return [("192.0.2.9", port)]


class House:
    """One `Calls` with everything around it; nothing has a socket."""

    def __init__(
        self,
        *,
        flags: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        recording_table: RecordingTable | None = None,
        voice: VoiceService | None = None,
        speech: SpeechService | None = None,
    ) -> None:
        self.journal = Journal()
        self.sip = JournalledSip(self.journal)
        self.media = JournalledEngine(self.journal)
        self.egress = SlowEgress()
        self.outbox = RecordedOutbox(on_event=lambda event_type, _: self.journal(event_type))
        self.clock = clock or HandClock()
        settings = load_settings(environment=WEBHOOKS, flags=dict(flags or {}))
        self.services = Services(
            settings=settings,
            clock=self.clock,
            sip=self.sip,  # type: ignore[arg-type]
            media=self.media,
            speech=speech
            or SpeechService(default_engine="scripted", options={"scripted": {"script": SCRIPT}}),
            outbox=self.outbox,  # type: ignore[arg-type]
            egress=self.egress,  # type: ignore[arg-type]
            applications=Applications(settings, self.clock),
            recording_table=recording_table,
            voice=voice or VoiceInMemory(),
        )
        self.calls = Calls(
            self.services,
            call_control_ids=CallControlIds(b"node-fak", b"s" * 32),
            user_id="00000000-0000-4000-8000-000000000000",
            public_keys=dict,
        )
        self.media.attach(asyncio.get_running_loop(), self.calls.on_media_event)

    def invite(
        self,
        number: int = 1,
        sdp: bytes | None = OFFER,
        from_uri: str = "sip:+15550001111@192.0.2.2",
        request_uri: str = "sip:+15550002222@192.0.2.1",
    ) -> sip.CallHandle:
        """Let a call come in."""
        call = sip.CallHandle(number)
        self.calls.on_sip_event(
            sip.IncomingCall(
                call=call,
                request_uri=request_uri,
                from_uri=from_uri,
                call_id=f"call-{number}",
                from_display="",
                to_uri="sip:+15550002222@192.0.2.1",
                headers=(),
                sdp=sdp,
                source=sip.Flow("udp", ("192.0.2.1", 5060), ("192.0.2.2", 5060)),
            )
        )
        return call

    @property
    def call_control_id(self) -> str:
        """Return the id of the newest call."""
        return list(self.calls._runners)[-1]

    @property
    def newest(self) -> CallLeg:
        """Return the newest call's leg."""
        return self.calls._runners[self.call_control_id].leg

    async def settle(self) -> None:
        """Let everything happen that can happen now."""
        for _ in range(500):
            await asyncio.sleep(0)

    def assert_nothing_left(self) -> None:
        """Fail if something of a call is still held."""
        assert len(self.calls) == 0
        assert self.calls._by_sip_call == {}
        assert self.calls._by_media_leg == {}
        assert len(self.services.tasks) == 0
        assert self.services.speech.counters()["sessions_open"] == 0
        self.media.assert_no_leaks()
