"""One call of the simulated phone, from INVITE to the last packet."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from offhook.base.ids import system_random
from offhook.edge.media import events as media
from offhook.edge.media.agreed import connect_agreed
from offhook.edge.media.engine import MediaEngine, MediaError
from offhook.edge.sip import SipServer
from offhook.kit.call_plan import CallPlan, CallResult, Outcome, PhoneError, PhoneEvent
from offhook.kit.capture import PacketCapture
from offhook.proto import sip
from offhook.proto.sdp import (
    NegotiatedMedia,
    SdpError,
    SessionDescription,
    make_answer,
    make_offer,
    negotiate,
    read_answer,
)

CAPTURE_TAP, RECORD_TAP = 1, 2
PLAY_SLICE_S = 10
"""Long audio is queued in slices, two ahead: the core takes a minute at once."""
DIGIT_MS, DIGIT_GAP_MS = 120, 80
NOBODY_THERE = 408
LINGER_S = 1.0
"""How long the answer to our BYE is waited for, so that a lost one is sent again."""
MEDIA_END_TIMEOUT_S = 2.0
CAPTURE_TAIL_S = 0.05
"""Copies of the last packets are still in their sockets when the leg has closed."""
TAPS_PER_CALL = 4
ByHandle = dict[sip.CallHandle, "PhoneCall"]


class PhoneCall:
    """Carries out a `CallPlan`."""

    def __init__(
        self,
        signalling: SipServer,
        engine: MediaEngine,
        plan: CallPlan,
        *,
        leg_id: int,
        play_when: asyncio.Event | None,
        hang_up_when: asyncio.Event | None,
        capture: PacketCapture | None,
        on_event: Callable[[PhoneEvent], None] | None,
    ) -> None:
        self._sip = signalling
        self._engine = engine
        self._plan = plan
        self._play_when = play_when
        self._hang_up_when = hang_up_when or asyncio.Event()
        self._capture = capture
        self._on_event = on_event
        self.leg_id = leg_id
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
        self._answered_at: float | None = None
        self._handle: sip.CallHandle | None = None
        self._ports = (0, 0)
        self._address = ""
        self._session_id = int.from_bytes(system_random(4), "big")
        self._version = 1
        self._settled = asyncio.Event()
        self._over = asyncio.Event()
        self._played = asyncio.Event()
        self._unheard: set[int] = set()
        self._leg_closed = asyncio.Event()
        self._accepted: sip.CallAccepted | None = None
        self._codec = self._digits = ""
        self._outcome: Outcome = "no answer"
        self._status, self._reason = 408, "Request Timeout"
        self._by_peer = self._gave_up = False
        self._ended_at = 0.0
        self._stats: media.LegStats | None = None

    async def run(self, by_handle: ByHandle) -> CallResult:
        """Make the call; return when it is over and everything of it is released."""
        flow = await self._find()
        try:
            self._ports = self._engine.open_leg(self.leg_id, rtcp_mux=False)
        except MediaError as error:
            raise PhoneError(str(error)) from None
        try:
            offer = self._invite(flow, by_handle)
            await self._wait_for_answer()
            if self._accepted is not None and await self._connect(offer, self._accepted):
                await self._talk()
        finally:
            await self._end(by_handle)
        return self._result()

    # What happens

    def on_sip_event(self, event: sip.UserAgentEvent) -> None:
        """Take one event of the call's signalling."""
        match event:
            case sip.CallRinging():
                self._tell("ringing", status=event.status)
            case sip.CallAccepted():
                self._accepted = event
                self._answered_at = self._loop.time()
                self._settled.set()
            case sip.CallRejected():
                if not self._gave_up:
                    self._status, self._reason = event.status, event.reason
                    self._outcome = _outcome(event)
                self._finish()
            case sip.CallEnded():
                self._by_peer = event.by_peer
                self._finish()
            case sip.OfferReceived():
                self._answer_offer(event)
            case _:
                pass

    def on_media_event(self, event: media.MediaEvent) -> None:
        """Take one event of the call's audio."""
        match event:
            case media.AudioChunk():
                if self._plan.record is not None:
                    self._plan.record(event.pcm)
            case media.MediaStarted():
                self._tell("media")
            case media.DigitReceived():
                self._digits += event.digit
                self._tell("digit", digit=event.digit)
            case media.PlayEnded():
                self._unheard.discard(event.play_id)
                if not self._unheard:
                    self._played.set()
            case media.LegFailed():
                self._outcome, self._reason = "failed", event.message
                self._over.set()
            case media.LegClosed():
                self._stats = event.stats
                self._leg_closed.set()
            case _:
                pass

    # What the phone does

    async def _find(self) -> sip.Flow:
        try:
            return await self._sip.flow_to(self._plan.uri)
        except (OSError, TimeoutError):
            raise PhoneError("The host of the SIP URI was not found.") from None
        except sip.SipSyntaxError:
            raise PhoneError("The SIP URI names a transport or an address that cannot be reached.") from None

    def _invite(self, flow: sip.Flow, by_handle: ByHandle) -> SessionDescription:
        self._address = flow.local[0]
        offer = make_offer(
            self._plan.codecs,
            address=self._address,
            rtp_port=self._ports[0],
            rtcp_port=self._ports[1],
            session_id=self._session_id,
        )
        request = sip.OutgoingCall(
            uri=self._plan.uri,
            from_uri=f"sip:{self._plan.caller}@{sip.url_host(self._address)}:{flow.local[1]}",
            from_display=self._plan.display,
            flow=flow,
        )
        try:
            self._handle = self._sip.invite(request, offer)
        except (sip.CallStateError, sip.SipSyntaxError, ValueError) as error:
            raise PhoneError(f"The call could not be made: {error}.") from None
        by_handle[self._handle] = self
        self._tell("dialing", uri=self._plan.uri)
        return SessionDescription.parse(offer)

    async def _wait_for_answer(self) -> None:
        waits = (self._settled.wait(), self._hang_up_when.wait())
        await _first_of(*waits, timeout_s=self._plan.ring_timeout_s)
        if not self._settled.is_set():
            self._gave_up = True
            self._reason = "given up before the answer" if self._hang_up_when.is_set() else "nobody answered"

    async def _connect(self, offer: SessionDescription, accepted: sip.CallAccepted) -> bool:
        """Start the audio that offer and answer agreed on; return whether there is any."""
        try:
            agreed = read_answer(offer, SessionDescription.parse(accepted.sdp or b""))
        except SdpError as error:
            agreed, self._reason = None, str(error)
        if agreed is None:
            self._outcome, self._status = "failed", 488
            return False
        self._outcome, self._status, self._reason = "answered", 200, "OK"
        self._connect_leg(agreed)
        if self._capture is not None:
            rx, tx = await self._capture.open()
            self._engine.add_fork(self.leg_id, self._tap(CAPTURE_TAP), rx=rx, tx=tx)
        if self._plan.record is not None:
            self._engine.add_speech(
                self.leg_id,
                self._tap(RECORD_TAP),
                track="rx",
                sample_rate_hz=self._plan.record_rate_hz,
                chunk_ms=100,
            )
        self._tell("answered", codec=agreed.codec_name, ptime_ms=agreed.ptime_ms)
        return True

    def _connect_leg(self, agreed: NegotiatedMedia) -> None:
        self._codec = agreed.codec_name
        connect_agreed(self._engine, self.leg_id, agreed, silence_when_idle=True)

    def _answer_offer(self, event: sip.OfferReceived) -> None:
        """Go along with a re-INVITE: hold, resume, another address."""
        try:
            offer = SessionDescription.parse(event.sdp or b"")
            agreed = negotiate(offer, self._plan.codecs)
        except SdpError:
            self._sip.refuse_offer(event.call)
            return
        if agreed is None:
            self._sip.refuse_offer(event.call)
            return
        self._version += 1
        self._connect_leg(agreed)
        self._sip.answer_offer(
            event.call,
            make_answer(
                offer,
                agreed,
                address=self._address,
                rtp_port=self._ports[0],
                rtcp_port=self._ports[1],
                session_id=self._session_id,
                version=self._version,
            ),
        )

    async def _talk(self) -> None:
        """Follow the plan until it is done, time is up, or the other side hangs up."""
        waits = (self._follow_plan(), self._over.wait(), self._hang_up_when.wait())
        await _first_of(*waits, timeout_s=self._plan.duration_s)

    async def _follow_plan(self) -> None:
        plan = self._plan
        if self._play_when is not None:
            await self._play_when.wait()
        if plan.play is not None and plan.play.pcm:
            await self._play()
        if plan.digits:
            self._engine.send_digits(
                self.leg_id, digits=plan.digits, duration_ms=DIGIT_MS, gap_ms=DIGIT_GAP_MS
            )
            await asyncio.sleep(len(plan.digits) * (DIGIT_MS + DIGIT_GAP_MS) / 1_000)
            self._tell("pressed", digits=plan.digits)
        if not plan.hang_up_after_play or (plan.play is None and not plan.digits):
            await self._over.wait()
        await asyncio.sleep(plan.tail_s)

    async def _play(self) -> None:
        sound = self._plan.play
        assert sound is not None, "there is something to play"
        size = PLAY_SLICE_S * sound.sample_rate_hz * 2
        slices = [sound.pcm[at : at + size] for at in range(0, len(sound.pcm), size)]
        self._tell("playing", duration_ms=sound.duration_ms)
        self._unheard = set(range(1, len(slices) + 1))
        for number, piece in enumerate(slices, start=1):
            if number > 2:
                await asyncio.sleep(PLAY_SLICE_S)
            self._engine.play(self.leg_id, number, pcm=piece, sample_rate_hz=sound.sample_rate_hz)
        async with asyncio.timeout(3 * PLAY_SLICE_S):
            await self._played.wait()
        self._tell("played")

    async def _end(self, by_handle: ByHandle) -> None:
        """Hang up if the call is still up, and release everything of it."""
        # Shielded: a second Ctrl-C must not leave the other side with a call that nobody ends.
        await asyncio.shield(self._loop.create_task(self._release(by_handle)))

    async def _release(self, by_handle: ByHandle) -> None:
        answers = self._sip.agent.counters["responses"]
        hanging_up = self._handle is not None and not self._over.is_set()
        if hanging_up and self._handle is not None:
            self._sip.hangup(self._handle)
        self._engine.close_leg(self.leg_id)
        await _until(self._leg_closed.is_set, MEDIA_END_TIMEOUT_S)
        if self._capture is not None:
            await asyncio.sleep(CAPTURE_TAIL_S)
            self._capture.close()
        if hanging_up and self._answered_at is None:
            await _until(self._over.is_set, LINGER_S)
        elif hanging_up:
            await _until(lambda: self._sip.agent.counters["responses"] > answers, LINGER_S)
        if self._handle is not None:
            by_handle.pop(self._handle, None)

    # Bookkeeping

    def _finish(self) -> None:
        self._ended_at = self._loop.time()
        self._settled.set()
        self._over.set()
        if self._answered_at is None:
            self._tell("rejected", status=self._status, reason=self._reason)
        else:
            self._tell("hangup", by="remote" if self._by_peer else "local")

    def _result(self) -> CallResult:
        if self._answered_at is None:
            return CallResult(self._outcome, self._status, self._reason, stats=self._stats)
        return CallResult(
            outcome=self._outcome,
            status=self._status,
            reason=self._reason,
            ended_by="remote" if self._by_peer else "local",
            ring_s=self._answered_at - self._began_at,
            duration_s=(self._ended_at or self._loop.time()) - self._answered_at,
            codec=self._codec,
            digits=self._digits,
            stats=self._stats,
        )

    def _tap(self, kind: int) -> int:
        return self.leg_id * TAPS_PER_CALL + kind

    def _tell(self, kind: str, **fields: Any) -> None:
        if self._on_event is not None:
            self._on_event(PhoneEvent(kind, self._loop.time() - self._began_at, fields))


async def _first_of(*waits: Coroutine[Any, Any, object], timeout_s: float | None) -> None:
    """Return when one of `waits` has ended, or after `timeout_s`; raise what went wrong in one."""
    tasks = [asyncio.get_running_loop().create_task(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _outcome(event: sip.CallRejected) -> Outcome:
    if event.by_peer:
        return "rejected"
    return "no answer" if event.status == NOBODY_THERE else "failed"


async def _until(happened: Callable[[], bool], timeout_s: float) -> None:
    """Return once `happened`, or after `timeout_s`."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not happened() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - no event exists
        await asyncio.sleep(0.01)
