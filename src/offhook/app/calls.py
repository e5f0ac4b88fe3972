"""All the legs of this node: who they are, and which one a command or an event is for."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import structlog

from offhook.app.bridging import Bridges
from offhook.app.fork_rate import ForkRate
from offhook.app.leg_audio import reachable
from offhook.app.runner import LegRunner
from offhook.app.services import Services
from offhook.app.speech import speech_config
from offhook.app.trunks import Target, Trunks
from offhook.app.voice import check_voice, texts_of, warm_up_voice
from offhook.base import limits
from offhook.base.errors import LimitReached
from offhook.base.ids import CallControlIds, system_random, uuid4
from offhook.call import facts
from offhook.call.commands import (
    Answer,
    Bridge,
    Command,
    Dial,
    OtherLeg,
    Reply,
    StartFork,
    StartRecording,
    StartTranscription,
    TranscriptionOptions,
    Transfer,
)
from offhook.call.dedupe import CommandMemory
from offhook.call.errors import CommandError
from offhook.call.leg import CallLeg, Compat
from offhook.call.values import Header, LegIdentity, WebhookRoute
from offhook.edge.http.applications import ApplicationResource
from offhook.edge.http.service import UnknownCall
from offhook.edge.media import events as media_events
from offhook.edge.speech.engine_map import EngineRejected
from offhook.edge.speech.protocol import ParameterUnsupported, SpeechError, SpeechUnavailable
from offhook.proto import sip
from offhook.proto.sdp import SdpError, SessionDescription

log = structlog.get_logger(__name__)


class Calls:
    """The registry of legs; the `CallService` of the HTTP API; the target of SIP and media events."""

    def __init__(
        self,
        services: Services,
        *,
        call_control_ids: CallControlIds,
        user_id: str,
        public_keys: Callable[[], dict[str, str]],
        trunks: Trunks | None = None,
    ) -> None:
        self._services = services
        self._call_control_ids = call_control_ids
        self._compat = Compat(**services.settings.compat.model_dump(exclude={"ignore_unsupported"}))
        self._user_id = user_id
        self._public_keys = public_keys
        self._runners: dict[str, LegRunner] = {}
        self._by_sip_call: dict[sip.CallHandle, LegRunner] = {}
        self._by_media_leg: dict[int, LegRunner] = {}
        self._ended: OrderedDict[str, tuple[float, CallLeg]] = OrderedDict()
        self._trunks = trunks or Trunks()
        self._dialled = CommandMemory(most=limits.DIAL_COMMAND_IDS_MAX)
        self._bridges = Bridges(services.media, self._runners.get)
        self.fork_rate = ForkRate(services.settings.limits.forks_per_s)
        self._accepting = True
        self._none_left = asyncio.Event()
        self._none_left.set()
        self.calls_total = 0
        self.refused_total: dict[str, int] = {}

    # For the HTTP API

    def command(self, call_control_id: str, action: str, command: Command) -> Reply:
        """Decide a command; `action` is its name in the URL.

        Raises:
            UnknownCall: no such call, ever or any more.
            CommandError: refused.
            LimitReached: there is no room for a recording, or too many forks to one host.
        """
        runner = self._runners.get(call_control_id)
        if runner is not None:
            if isinstance(command, Transfer):
                return self._transfer(runner, command)
            if isinstance(command, Bridge):
                command = replace(command, found=self._found(command.bridge.other))
            if not runner.leg.repeats(command, self._services.clock.now()):
                self._check_speech(command, runner.leg)
                self._take_share(command)
                if isinstance(command, StartRecording):
                    self._services.recordings.check_room()
            return runner.command(command)
        self._forget_old()
        if call_control_id in self._ended:
            leg = self._ended[call_control_id][1]
            reply, effects = leg.command(command, self._services.clock.now())
            assert not effects, "a leg that ended has nothing left to do"
            return reply
        raise UnknownCall(call_control_id)

    def status(self, call_control_id: str) -> dict[str, Any] | None:
        """Return the call resource (contract 2.3), also for 10 minutes after the end."""
        self._forget_old()
        now = self._services.clock.now()
        runner = self._runners.get(call_control_id)
        if runner is not None:
            return runner.leg.status(now)
        ended = self._ended.get(call_control_id)
        return ended[1].status(now) if ended is not None else None

    def public_keys(self) -> dict[str, str]:
        """Return the keys that verify our webhooks, see `CallService`."""
        return self._public_keys()

    def streams(
        self, *, call_control_id: str | None, wanted: str, first: int, count: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return some of the streams, live and of late, and how many there are."""
        return self._services.stream_book.page(
            call_control_id=call_control_id, wanted=wanted, first=first, count=count
        )

    def health(self) -> dict[str, Any]:
        """Return whether new calls are taken, and how many are up."""
        return {"status": "ok" if self._accepting else "draining", "calls": len(self._runners)}

    def dial(self, plan: Dial) -> Reply:
        """Make a call; what becomes of it is told by webhook.

        Raises:
            CommandError: refused.
            LimitReached: the server is full, or about to stop.
        """
        now = self._services.clock.now()
        keyed = plan
        if plan.command_id is not None:
            keyed = replace(plan, command_id=f"{plan.connection_id}\0{plan.command_id}")
        known = self._dialled.recall(keyed, now)
        if known is not None:
            return known
        application, route = self._application_of_dial(plan)
        session_id = uuid4(system_random)
        if plan.link_to is not None:
            linked = self._linked(plan.link_to)
            session_id = linked.leg.identity.call_session_id
            plan = replace(plan, caller=linked.leg.caller) if plan.caller_of_link else plan
        self._check_speech(plan)
        targets = self._targets(plan)
        leg = self._new_leg(application, route, session_id)
        self._place(leg, plan, targets)
        data = {**leg.status(now), "is_alive": False, **leg.inline_ids}
        reply = Reply(data)
        self._dialled.remember(keyed, reply, now)
        return reply

    def _transfer(self, runner: LegRunner, command: Transfer) -> Reply:
        """Call somebody for a leg, in the same session and for the same application."""
        leg, identity = runner.leg, runner.leg.identity
        plan = replace(
            command.plan, connection_id=identity.connection_id, caller=command.plan.caller or leg.callee
        )
        assert plan.bridge is not None, "a transfer has a bridge"
        plan = replace(plan, bridge=replace(plan.bridge, other=identity.call_control_id))
        command = replace(command, plan=plan)
        known = leg.recall(command, self._services.clock.now())
        if known is not None:
            return known
        application, route = self._application_of_dial(plan)
        targets = self._targets(plan)
        reply = runner.command(command)
        new = self._new_leg(application, route, identity.call_session_id)
        self._bridges.rings_for(self._place(new, plan, targets), runner)
        return reply

    def _targets(self, plan: Dial) -> tuple[Target, ...]:
        targets = self._trunks.targets(plan)
        if not self._accepting:
            raise LimitReached("The server is about to stop and makes no more calls.")
        if len(self._runners) >= self._services.settings.limits.legs:
            raise LimitReached("The server has as many calls as its setting limits.legs allows.")
        return targets

    def _place(self, leg: CallLeg, plan: Dial, targets: tuple[Target, ...]) -> LegRunner:
        runner = LegRunner(
            leg,
            self._services,
            bridges=self._bridges,
            targets=targets,
            on_sip_call=self._watch,
            on_released=self._released,
        )
        self._enter(runner)
        log.info("call asked for", leg=leg.identity.call_leg_id, targets=len(targets))
        runner.feed(outgoing_call(plan, targets[0]))
        return runner

    def _found(self, call_control_id: str) -> OtherLeg | None:
        """Return what a bridge is to be told of the other call."""
        runner = self._runners.get(call_control_id)
        leg = runner.leg if runner is not None else self._ended.get(call_control_id, (0.0, None))[1]
        return None if leg is None else OtherLeg(state=leg.state, bridged=leg.bridged_to is not None)

    def active_calls(self, connection_id: str) -> list[dict[str, Any]] | None:
        """Return the calls of a connection that are up or ringing, oldest first; None: no such connection."""
        if self._services.applications.find(connection_id) is None:
            return None
        now = self._services.clock.now()
        found = []
        for runner in self._runners.values():
            status = runner.leg.status(now)
            if runner.leg.identity.connection_id == connection_id and status["is_alive"]:
                found.append({**status, "cursor": runner.media_leg_id})
        return found

    def _application_of_dial(self, plan: Dial) -> tuple[ApplicationResource, WebhookRoute]:
        application = self._services.applications.find(plan.connection_id)
        if application is None:
            raise CommandError("10015", "`connection_id` is not that of an application.", "/connection_id")
        if not application.active:
            raise CommandError("10038", "The application is not active.", "/connection_id")
        most = application.outbound.channel_limit
        if most is not None and self._calls_of(application, incoming=False) >= most:
            detail = "The application has as many calls out as its `outbound.channel_limit` allows."
            raise CommandError("10038", detail, "/connection_id")
        route = self._services.applications.webhook_route(application)
        if route is None and plan.webhooks.url is not None:
            route = WebhookRoute(plan.webhooks.url, None, self._services.settings.webhooks.timeout_s)
        if route is None:
            detail = "The application has no webhook URL: set OFFHOOK_WEBHOOK_URL or give `webhook_url`."
            raise CommandError("10015", detail, "/connection_id")
        return application, route

    def _linked(self, call_control_id: str) -> LegRunner:
        runner = self._runners.get(call_control_id)
        if runner is None:
            raise CommandError(
                "90015", "`link_to` is not the call_control_id of a call that is up.", "/link_to"
            )
        return runner

    def _take_share(self, command: Command) -> None:
        """Refuse what this server has no room for, while the app is still listening."""
        if isinstance(command, StartFork):
            self.fork_rate.take(command, self._services.clock.now())
        for text in texts_of(command):
            check_voice(self._services.voice, text)

    def _check_speech(self, command: Command, leg: CallLeg | None = None) -> None:
        """Refuse a transcription that no engine here can do, while the app is still listening."""
        options: TranscriptionOptions | None = None
        within = ""
        match command:
            case StartTranscription():
                options = command.transcription
            case Answer() | Dial():
                options, within = command.transcription, "/transcription_config"
            case _:
                pass
        if options is None:
            return
        if leg is not None:  # what is wrong with the call itself is told first
            leg.check(command, self._services.clock.now())
        try:
            self._services.speech.check(options.engine, speech_config(options), len(options.tracks))
        except EngineRejected as error:
            raise CommandError("10032", str(error), f"{within}/transcription_engine") from None
        except ParameterUnsupported as error:
            pointer = f"{within}/transcription_engine_config/{error.parameter}"
            raise CommandError("10038", str(error), pointer) from None
        except SpeechUnavailable as error:
            raise CommandError("10038", str(error), f"{within}/transcription_engine") from None

    # From the edges

    def on_sip_event(self, event: sip.UserAgentEvent) -> None:
        """Take what the user agent reports."""
        if isinstance(event, sip.IncomingCall):
            self._incoming(event)
            return
        runner = self._by_sip_call.get(event.call)
        if runner is None or runner.on_dial_event(event):
            return
        match event:
            case sip.CallCancelled():
                runner.feed(facts.CallerCancelled())
            case sip.CallEstablished():
                runner.feed(facts.AckReceived(runner.audio.read_answer(event.sdp)))
            case sip.AckTimedOut():
                runner.feed(facts.SignallingFailed("no ACK came for our 200 OK", 408))
            case sip.CallEnded():
                headers = tuple(Header(name, value) for name, value in event.headers)
                if event.by_peer:
                    runner.feed(facts.PeerHungUp(headers))
                else:
                    runner.feed(facts.SignallingFailed(event.reason or "the dialog ended"))
            case sip.CallRejected():
                runner.feed(facts.SignallingFailed(event.reason, event.status))
            case sip.InfoReceived():
                runner.on_info(event)
            case sip.InfoAnswered():
                runner.feed(facts.InfoAnswered(event.status))
            case sip.ReferAnswered():
                runner.feed(facts.ReferAnswered(event.status))
            case sip.ReferNotified():
                runner.feed(facts.ReferNotified(event.status, event.over))
            case sip.OfferReceived():
                runner.on_offer(event.sdp)
            case sip.OfferAnswered():
                runner.on_offer_answered(event.sdp)
            case _:
                pass

    def on_media_event(self, event: media_events.MediaEvent) -> None:
        """Take what the media core reports."""
        if isinstance(event, media_events.RecordingClosed):
            # A disk that is slow may close a file after its leg is gone.
            self._services.recordings.on_closed(event)
        runner = self._by_media_leg.get(event.leg_id)
        if runner is not None:
            runner.on_media_event(event)

    def stop_accepting(self) -> None:
        """Refuse new calls from now on."""
        self._accepting = False

    def __len__(self) -> int:
        return len(self._runners)

    async def wait_until_none(self) -> None:
        """Return when no call is up or ringing."""
        await self._none_left.wait()

    def hang_up_all(self) -> None:
        """End every call, as the callee would."""
        for runner in tuple(self._runners.values()):
            runner.hang_up()

    def _incoming(self, event: sip.IncomingCall) -> None:
        application = self._services.applications.of_call(event)
        refusal = self._refusal(application)
        route = None if application is None else self._services.applications.webhook_route(application)
        if refusal is None and route is None:
            refusal = (480, "Temporarily Unavailable", "no_webhook_url")
        offer: SessionDescription | None = None
        if refusal is None and event.sdp is not None:
            try:
                offer = SessionDescription.parse(event.sdp)
                agreed = self._services.codecs.choose(offer)
                if agreed is None:
                    refusal = (488, "Not Acceptable Here", "no_common_codec")
                elif not reachable(agreed, event.source.local[0]):
                    refusal = (488, "Not Acceptable Here", "other_ip_version")
            except SdpError:
                refusal = (400, "Bad Request", "malformed_sdp")
        if refusal is not None:
            status, reason, cause = refusal
            self.refused_total[cause] = self.refused_total.get(cause, 0) + 1
            log.warning("call refused", cause=cause, sip_status=status)
            self._services.sip.reject(event.call, status, reason=reason)
            return
        assert application is not None, "else the call is refused"
        assert route is not None, "else the call is refused"
        self._services.sip.ring(event.call)
        self._open(event, offer, application, route)

    def _refusal(self, application: ApplicationResource | None) -> tuple[int, str, str] | None:
        if not self._accepting:
            return 503, "Service Unavailable", "draining"
        if len(self._runners) >= self._services.settings.limits.legs:
            return 503, "Service Unavailable", "too_many_calls"
        if application is None:
            return 404, "Not Found", "no_application"
        if not application.active:
            return 403, "Forbidden", "application_inactive"
        most = application.inbound.channel_limit
        if most is not None and self._calls_of(application, incoming=True) >= most:
            return 403, "Forbidden", "channel_limit"
        return None

    def _calls_of(self, application: ApplicationResource, *, incoming: bool) -> int:
        return sum(
            runner.leg.identity.connection_id == application.id and runner.leg.incoming is incoming
            for runner in self._runners.values()
        )

    def _open(
        self,
        event: sip.IncomingCall,
        offer: SessionDescription | None,
        application: ApplicationResource,
        route: WebhookRoute,
    ) -> None:
        leg = self._new_leg(application, route, uuid4(system_random))
        runner = LegRunner(
            leg,
            self._services,
            bridges=self._bridges,
            sip_call=event.call,
            local_address=event.source.local[0],
            offer=offer,
            on_released=self._released,
        )
        self._enter(runner)
        self._watch(runner, event.call)
        log.info("call arrived", leg=leg.identity.call_leg_id)
        runner.feed(
            facts.IncomingCall(
                caller=_party(event.from_uri),
                callee=_party(event.request_uri),
                caller_name=event.from_display or "",
                from_sip_uri=_bare(event.from_uri),
                to_sip_uri=_bare(event.request_uri),
                headers=tuple(Header(name, value) for name, value in event.headers),
                offer=offer,
            )
        )

    def _new_leg(self, application: ApplicationResource, route: WebhookRoute, session_id: str) -> CallLeg:
        leg_id = UUID(uuid4(system_random))
        identity = LegIdentity(
            call_control_id=self._call_control_ids.mint(leg_id),
            call_leg_id=str(leg_id),
            call_session_id=session_id,
            connection_id=application.id,
        )
        return CallLeg(
            identity,
            user_id=self._user_id,
            route=route,
            codecs=self._services.codecs,
            new_id=lambda: uuid4(system_random),
            first_command_timeout_s=(
                float(application.first_command_timeout_secs) if application.first_command_timeout else None
            ),
            compat=self._compat,
        )

    def _enter(self, runner: LegRunner) -> None:
        self._runners[runner.leg.identity.call_control_id] = runner
        self._none_left.clear()
        self._by_media_leg[runner.media_leg_id] = runner
        self.calls_total += 1
        if self.calls_total == 1 and self._services.settings.speech.warm_up:
            self._services.tasks.start(self._warm_up(), name="warm up speech")
        if self.calls_total == 1 and self._services.settings.voice.warm_up:
            self._services.tasks.start(warm_up_voice(self._services.voice), name="warm up voice")

    def _watch(self, runner: LegRunner, call: sip.CallHandle) -> None:
        self._by_sip_call[call] = runner

    async def _warm_up(self) -> None:
        """Load what transcription needs while the first call still rings."""
        try:
            await self._services.speech.warm_up()
        except SpeechError as error:
            log.warning("transcription may not work", reason=str(error))

    def _released(self, runner: LegRunner) -> None:
        call_control_id = runner.leg.identity.call_control_id
        del self._runners[call_control_id]
        for call in runner.sip_calls:
            del self._by_sip_call[call]
        del self._by_media_leg[runner.media_leg_id]
        if not self._runners:
            self._none_left.set()
        self._ended[call_control_id] = (self._services.clock.now(), runner.leg)
        self._forget_old()

    def _forget_old(self) -> None:
        oldest_kept = self._services.clock.now() - limits.ENDED_LEGS_KEPT_S
        while self._ended:
            ended_at, _ = next(iter(self._ended.values()))
            if ended_at >= oldest_kept and len(self._ended) <= limits.ENDED_LEGS_KEPT_MAX:
                return
            self._ended.popitem(last=False)


def outgoing_call(plan: Dial, first: Target) -> facts.OutgoingCall:
    """Return the first fact of a call that we make; `first` is the first of the addresses it rings."""
    own = f"{first.caller}@{first.domain}" if first.domain else first.caller
    return facts.OutgoingCall(
        caller=plan.caller,
        callee=first.callee,
        caller_name=plan.caller_name,
        from_sip_uri=own,
        to_sip_uri=_bare(first.uri),
        headers=plan.headers,
        plan=plan,
    )


def _bare(uri: str) -> str:
    """Return a SIP URI as webhooks show it: without scheme, password, parameters and headers."""
    try:
        parsed = sip.SipUri.parse(uri)
    except sip.SipSyntaxError:
        return ""
    user = unquote(parsed.user.partition(";")[0])
    where = parsed.host if parsed.port is None else f"{parsed.host}:{parsed.port}"
    return f"{user}@{where}" if user and where else user or where


def _party(uri: str) -> str:
    """Return what `from` and `to` say: the number when the user part is one, else `sip:user@host`."""
    bare = _bare(uri)
    user = bare.partition("@")[0]
    return user if user.removeprefix("+").isdigit() else f"sip:{bare}"
