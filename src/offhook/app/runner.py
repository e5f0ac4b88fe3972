"""Carries out what one leg decides: its effects, in order, in one task.

What takes long (name look-ups, recognisers that finish) runs beside the queue, so that a slow
name server never delays a BYE; what it finds comes back to the leg as a fact.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog

from offhook.app.bridging import Bridges
from offhook.app.dialling import Branch, Dialling
from offhook.app.digits import LegDigits
from offhook.app.leg_audio import LegAudio
from offhook.app.leg_recordings import LegRecordings
from offhook.app.playback import LegPlayback
from offhook.app.quality import quality_of
from offhook.app.services import Services
from offhook.app.signals import fact_of_info, send_signal
from offhook.app.taps import LegTaps
from offhook.app.trunks import Target
from offhook.base import limits
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.commands import Command, Hangup, Reply
from offhook.call.errors import CommandError
from offhook.call.leg import CallLeg
from offhook.call.values import Header
from offhook.edge.media import events as media_events
from offhook.edge.media.engine import MediaError
from offhook.edge.webhook.outbox import Receipt
from offhook.proto.sdp import NegotiatedMedia, SdpError, SessionDescription
from offhook.proto.sip import CallHandle, CallStateError, InfoReceived, UserAgentEvent

log = structlog.get_logger(__name__)


class LegRunner:
    """One leg, its dialog and its media leg, from the first fact to `Release`."""

    def __init__(
        self,
        leg: CallLeg,
        services: Services,
        *,
        sip_call: CallHandle | None = None,
        local_address: str = "",
        offer: SessionDescription | None = None,
        targets: tuple[Target, ...] = (),
        bridges: Bridges,
        on_sip_call: Callable[["LegRunner", CallHandle], None] = lambda runner, call: None,
        on_released: Callable[["LegRunner"], None],
    ) -> None:
        self.leg = leg
        self.sip_call = sip_call
        """The dialog; None while a call of ours has none yet."""
        self.sip_calls: list[CallHandle] = [] if sip_call is None else [sip_call]
        """Every INVITE of the leg, for the registry to forget them all."""
        self._bridges = bridges
        self._on_sip_call = on_sip_call
        self._dialling: Dialling | None = None
        self.media_leg_id = next(services.media_leg_ids)
        self._services = services
        self._on_released = on_released
        self._queue: deque[do.Effect] = deque()
        self._dropping = False
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.audio = LegAudio(services, self.media_leg_id, offer=offer, local_address=local_address)
        self._media_refused = False
        self._notices: dict[str, Receipt] = {}
        self._taps = LegTaps(services, self.media_leg_id, self.feed)
        self._digits = LegDigits(services, self.media_leg_id)
        self._playback = LegPlayback(
            services, self.feed, lambda effect: bridges.hearing(self, effect.options.target_legs)
        )
        self._recordings = LegRecordings(
            services.recordings,
            services.media,
            services.plays,
            leg,
            self.media_leg_id,
            new_tap_id=lambda: next(services.tap_ids),
            now=services.clock.now,
            feed=self.feed,
        )
        self._log = log.bind(leg=leg.identity.call_leg_id)
        if targets:
            self._dialling = Dialling(
                services,
                targets,
                make_offer=self.audio.offer_from,
                tell=self.feed,
                on_call=self._dialled,
                on_answer=self._picked_up,
            )
        services.tasks.start(self._run(), name=f"leg {leg.identity.call_leg_id}")

    # What comes in

    def feed(self, fact: facts.Fact) -> None:
        """Tell the leg what has happened."""
        self._decided(self.leg.handle(fact, self._services.clock.now()))

    def command(self, command: Command) -> Reply:
        """Let the leg decide a command at once; its effects follow in order.

        Raises:
            CommandError: refused, and nothing has changed.
        """
        reply, effects = self.leg.command(command, self._services.clock.now())
        self._decided(effects)
        return reply

    def on_media_event(self, event: media_events.MediaEvent) -> None:
        """Take what the media core reports of this leg."""
        match event:
            case media_events.DigitReceived():
                self.feed(facts.DigitReceived(event.digit))
            case media_events.MediaTimedOut():
                self.feed(facts.MediaTimedOut())
            case media_events.LegFailed():
                self._log.error("media leg failed", detail=event.message)
                self.feed(facts.MediaFailed(event.message))
            case media_events.LegClosed():
                self.audio.closed(_summary(event.stats))
                self.feed(facts.MediaClosed(quality_of(event.stats)))
            case media_events.MediaStarted():
                pass
            case media_events.RecordingClosed():
                self._recordings.on_closed(event)
            case media_events.PlayStarted() | media_events.PlayEnded():
                self._services.plays.on_media_event(event)
            case _:
                self._taps.on_media_event(event)

    def on_dial_event(self, event: UserAgentEvent) -> bool:
        """Take an event of an INVITE of ours that is not the call yet; say whether it was one."""
        if self._dialling is None or event.call == self.sip_call:
            return False
        self._dialling.on_event(event)
        return True

    def on_offer(self, sdp: bytes | None) -> None:
        """Answer a re-INVITE: new addresses or directions (hold), the codec in use where it can stay."""
        if sdp is None and self.audio.is_open:
            self._services.sip.answer_offer(self._call(), self.audio.offer(self.leg.media))
            return
        try:
            offer = SessionDescription.parse(sdp or b"")
            agreed = self.audio.renegotiate(offer, self.leg.media)
            if agreed is None:
                self._services.sip.refuse_offer(self._call(), status=488)
                return
            self.audio.connect(agreed)
        except (SdpError, MediaError) as error:
            self._log.info("an offer cannot be met", reason=str(error))
            self._services.sip.refuse_offer(self._call(), status=488)
            return
        self._services.sip.answer_offer(self._call(), self.audio.answer(agreed, offer))
        self.feed(facts.MediaRenegotiated(agreed))

    def on_offer_answered(self, sdp: bytes | None) -> None:
        """Take the answer to the offer that a re-INVITE without one was given (RFC 3261 §14.1)."""
        agreed = self.audio.read_answer(sdp)
        if agreed is None:
            return  # the session stays as it was
        try:
            self.audio.connect(agreed)
        except MediaError as error:
            self._log.warning("an answer cannot be met", reason=str(error))
            return
        self.feed(facts.MediaRenegotiated(agreed))

    def on_info(self, event: InfoReceived) -> None:
        """Take an INFO of the far end: a key, or something for the app to read."""
        fact = fact_of_info(event)
        if fact is None:
            self._services.counters["info_keys_unusable_total"] += 1
        else:
            self.feed(fact)

    def hang_up(self) -> None:
        """End the call as the app would."""
        with suppress(CommandError):
            self.command(Hangup())

    # What goes out

    def _decided(self, effects: list[do.Effect]) -> None:
        if len(self._queue) + len(effects) > limits.EFFECTS_QUEUED_PER_LEG_MAX:
            effects = self._without_interim(effects)
        self._queue.extend(effects)
        self._wake.set()
        self._arm()

    def _without_interim(self, effects: list[do.Effect]) -> list[do.Effect]:
        """Drop interim transcripts, and nothing else: whatever lasts is bounded by what a call can do."""
        kept = [effect for effect in effects if not _is_interim(effect)]
        if len(kept) < len(effects):
            if not self._dropping:
                self._log.warning("too many effects are waiting; interim transcripts are dropped")
            self._dropping = True
            self._services.counters["interim_transcripts_dropped_total"] += len(effects) - len(kept)
        return kept

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.leg.poll_timeout()
        if due is not None:
            delay_s = max(0.0, due - self._services.clock.now())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._decided(self.leg.handle_timeout(self._services.clock.now()))

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                effect = self._queue.popleft()
                if isinstance(effect, do.Release):
                    await self._release()
                    return
                try:
                    await self._act(effect)
                except CallStateError as error:
                    # The far end was quicker: the dialog ended while this effect waited its turn.
                    self._log.debug("the dialog is over", effect=type(effect).__name__, reason=str(error))
                except Exception:  # noqa: BLE001 - one effect that breaks must not keep the rest of the call from ending
                    self._services.counters["effects_failed_total"] += 1
                    self._log.exception("effect failed", effect=type(effect).__name__)

    async def _act(self, effect: do.Effect) -> None:
        match effect:
            case do.Notify():
                await self._notify(effect)
            case do.OpenMedia():
                self._open_media(effect)
            case do.ConnectMedia():
                self._connect_or_fail(effect.media)
            case do.AcceptCall():
                self._accept(effect)
            case do.RejectCall():
                self._reject(effect)
            case do.PlaceCall():
                self._place(effect)
            case do.EndCall():
                self._end_call(effect)
            case do.JoinLegs() | do.HearEarly() | do.PartLegs() | do.HoldCall():
                self._act_on_bridge(effect)
            case do.SendDigits():
                self._digits.send(effect)
            case do.SendInfo() | do.ReferCall() | do.ForgetReferral():
                send_signal(self._services.sip, self._call(), effect)
            case do.OpenPlayback() | do.OpenSpeak():
                self._playback.open(effect)
            case do.ClosePlayback():
                self._playback.stop(effect.playback_id)
            case do.OpenRecording() | do.HoldRecording() | do.CloseRecording():
                self._recordings.carry_out(effect)
            case do.CloseMedia():
                await self._close_media()
            case do.OpenStream():
                self._taps.open_stream(effect)
            case do.OpenDialogflow():
                self._taps.open_dialogflow(effect)
            case do.BeginStream():
                self._taps.begin_stream(effect.stream_id, after=self._notices.pop(effect.stream_id, None))
            case do.CloseStream():
                self._taps.close_stream(effect)
            case do.OpenFork():
                self._taps.open_fork(effect, self.leg.identity.call_leg_id)
            case do.CloseFork():
                self._taps.close_fork(effect.fork_id)
            case do.OpenTranscription():
                self._taps.open_transcription(effect)
            case do.CloseTranscription():
                self._taps.close_transcription(effect.transcription_id)
            case do.Release():
                raise AssertionError("Release ends the run before it gets here")

    async def _close_media(self) -> None:
        await self._digits.close()
        if self.audio.is_open:
            self.audio.close()
        else:
            self.feed(facts.MediaClosed())

    def _act_on_bridge(self, effect: do.JoinLegs | do.HearEarly | do.PartLegs | do.HoldCall) -> None:
        match effect:
            case do.JoinLegs():
                self._bridges.join(self, effect.bridge)
            case do.HearEarly():
                self._bridges.hear_early(self, effect.bridge)
            case do.PartLegs():
                self._bridges.part(self)
            case do.HoldCall():
                self._hold(effect.hold)

    async def _notify(self, effect: do.Notify) -> None:
        put = self._services.outbox.put(
            effect.event_type,
            effect.payload,
            occurred_at=effect.occurred_at,
            route=effect.route,
            call_leg_id=self.leg.identity.call_leg_id,
        )
        # A task of its own: what is not stored in time is stored later, in the same order.
        storing = self._services.tasks.start(put, name="store event")
        await asyncio.wait([storing], timeout=limits.EVENT_STORED_TIMEOUT_S)
        if not storing.done():
            self._services.counters["events_stored_late_total"] += 1
            self._log.warning("the disk is slow; the call goes on", event_type=effect.event_type)
        elif effect.event_type == "streaming.started" and storing.exception() is None:
            self._notices[effect.payload["stream_id"]] = storing.result()

    def _open_media(self, effect: do.OpenMedia) -> None:
        mux = effect.media is not None and effect.media.rtcp_mux
        try:
            self.audio.open(rtcp_mux=mux, codecs=effect.codecs, silence_when_idle=effect.silence_when_idle)
        except MediaError as error:
            self._media_failed(error)
            return
        if effect.media is not None:
            self._connect_or_fail(effect.media)

    def _place(self, effect: do.PlaceCall) -> None:
        if self._media_refused:
            return  # MediaFailed is on its way through the leg and ends the call
        assert self._dialling is not None, "a leg that places a call was made with targets"
        self._dialling.start(effect.plan)

    def _dialled(self, call: CallHandle) -> None:
        self.sip_calls.append(call)
        self._on_sip_call(self, call)

    def _picked_up(self, call: CallHandle, branch: Branch) -> None:
        self.sip_call = call
        self.audio.local_address = branch.local_address
        self.audio.local_offer = branch.offer

    def _end_call(self, effect: do.EndCall) -> None:
        if self.sip_call is not None:
            self._services.sip.hangup(self.sip_call, headers=_pairs(effect.headers))
        elif self._dialling is not None:
            self._dialling.give_up(effect.headers, effect.reason)

    def _call(self) -> CallHandle:
        if self.sip_call is None:
            raise CallStateError("the call has not been answered")
        return self.sip_call

    def _connect_or_fail(self, agreed: NegotiatedMedia) -> None:
        try:
            self.audio.connect(agreed)
        except MediaError as error:
            self._media_failed(error)

    def _media_failed(self, error: MediaError) -> None:
        self._media_refused = True
        self._log.warning("media leg refused", detail=str(error))
        self.feed(facts.MediaFailed(str(error)))

    def _accept(self, effect: do.AcceptCall) -> None:
        if self._media_refused:
            return  # MediaFailed is on its way through the leg and refuses the call
        sdp = self.audio.offer() if effect.media is None else self.audio.answer(effect.media)
        self._services.sip.accept(self._call(), sdp, headers=_pairs(effect.headers))

    def _reject(self, effect: do.RejectCall) -> None:
        sip = self._services.sip
        try:
            sip.reject(self._call(), effect.status, reason=effect.reason, headers=_pairs(effect.headers))
        except CallStateError:
            # Our 200 OK has gone already, and only BYE ends the dialog; a call that is over stays over.
            sip.hangup(self._call(), headers=_pairs(effect.headers))

    def _hold(self, hold: bool) -> None:
        """Offer to send only, or again both ways (RFC 3264 8.4)."""
        if self.audio.is_open and self.leg.media is not None:
            self._services.sip.reinvite(self._call(), self.audio.offer(self.leg.media, receiving=not hold))

    async def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._dialling is not None and self.sip_call is None:
            self._dialling.give_up()
        await self._digits.close()
        await self._playback.close()
        await self._taps.close()
        self._bridges.forget(self)
        self._on_released(self)


def _pairs(headers: tuple[Header, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((header.name, header.value) for header in headers)


def _is_interim(effect: do.Effect) -> bool:
    """Tell whether losing the effect loses nothing that lasts: an interim transcript."""
    return (
        isinstance(effect, do.Notify)
        and effect.event_type == "call.transcription"
        and not effect.payload["transcription_data"]["is_final"]
    )


def _summary(stats: media_events.LegStats) -> dict[str, int]:
    """Return the counters worth a line at the end of a call."""
    return {
        "rx_packets": stats["packets_received"],
        "rx_lost": stats["packets_lost"],
        "rx_foreign": stats["packets_foreign"],
        "rx_malformed": stats["packets_malformed"],
        "rx_late": stats["packets_late"],
        "jitter_us": stats["jitter_us"],
        "jitter_buffer_ms": stats["jitter_buffer_ms"],
        "drift_ppm": stats["drift_ppm"],
        "slipped_samples": stats["slipped_samples"],
        "tx_packets": stats["packets_sent"],
    }
