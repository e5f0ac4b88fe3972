"""All the legs of this node: who they are, and which one a command or an event is for."""

import asyncio
from collections import OrderedDict
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import structlog

from offhook.app.runner import LegRunner, reachable
from offhook.app.services import Services
from offhook.base import limits
from offhook.base.ids import CallControlIds, system_random, uuid4
from offhook.call import facts
from offhook.call.commands import Answer, Command, Reply, StartTranscription, TranscriptionOptions
from offhook.call.errors import CommandError
from offhook.call.leg import CallLeg, Compat
from offhook.call.values import Header, LegIdentity, WebhookRoute
from offhook.edge.http.applications import ApplicationResource
from offhook.edge.http.service import UnknownCall
from offhook.edge.media import events as media_events
from offhook.edge.speech.engine_map import EngineRejected
from offhook.edge.speech.protocol import SpeechError, SpeechUnavailable
from offhook.proto import sip
from offhook.proto.sdp import SdpError, SessionDescription

log = structlog.get_logger(__name__)


class Calls:
    """The registry of legs; the `CallService` of the HTTP API; the target of SIP and media events."""

    def __init__(
        self, services: Services, *, call_control_ids: CallControlIds, user_id: str, public_key: str
    ) -> None:
        self._services = services
        self._call_control_ids = call_control_ids
        self._user_id = user_id
        self._public_key = public_key
        self._runners: dict[str, LegRunner] = {}
        self._by_sip_call: dict[sip.CallHandle, LegRunner] = {}
        self._by_media_leg: dict[int, LegRunner] = {}
        self._ended: OrderedDict[str, tuple[float, CallLeg]] = OrderedDict()
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
        """
        runner = self._runners.get(call_control_id)
        if runner is not None:
            self._check_speech(command)
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

    def public_key(self) -> str:
        """Return the webhook public key."""
        return self._public_key

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

    def _check_speech(self, command: Command) -> None:
        """Refuse a transcription that no engine here can do, while the app is still listening."""
        options: TranscriptionOptions | None = None
        pointer = "/transcription_engine"
        match command:
            case StartTranscription():
                options = command.transcription
            case Answer():
                options, pointer = command.transcription, "/transcription_config/transcription_engine"
            case _:
                pass
        if options is None:
            return
        try:
            self._services.speech.check(options.engine, options.language or "en")
        except EngineRejected as error:
            raise CommandError("10032", str(error), pointer) from None
        except SpeechUnavailable as error:
            raise CommandError("10038", str(error), pointer) from None

    # From the edges

    def on_sip_event(self, event: sip.UserAgentEvent) -> None:
        """Take what the user agent reports."""
        if isinstance(event, sip.IncomingCall):
            self._incoming(event)
            return
        runner = self._by_sip_call.get(event.call)
        if runner is None:
            return
        match event:
            case sip.CallCancelled():
                runner.feed(facts.CallerCancelled())
            case sip.CallEstablished():
                runner.feed(facts.AckReceived(runner.read_answer(event.sdp)))
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
            case sip.OfferReceived():
                runner.on_offer(event.sdp)
            case sip.OfferAnswered():
                runner.on_offer_answered(event.sdp)
            case _:
                pass

    def on_media_event(self, event: media_events.MediaEvent) -> None:
        """Take what the media core reports."""
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
        if most is not None and self._incoming_of(application.id) >= most:
            return 403, "Forbidden", "channel_limit"
        return None

    def _incoming_of(self, application_id: str) -> int:
        return sum(
            runner.leg.identity.connection_id == application_id and runner.leg.incoming
            for runner in self._runners.values()
        )

    def _open(
        self,
        event: sip.IncomingCall,
        offer: SessionDescription | None,
        application: ApplicationResource,
        route: WebhookRoute,
    ) -> None:
        leg_id = UUID(uuid4(system_random))
        identity = LegIdentity(
            call_control_id=self._call_control_ids.mint(leg_id),
            call_leg_id=str(leg_id),
            call_session_id=uuid4(system_random),
            connection_id=application.id,
        )
        leg = CallLeg(
            identity,
            user_id=self._user_id,
            route=route,
            codecs=self._services.codecs,
            new_id=lambda: uuid4(system_random),
            first_command_timeout_s=(
                float(application.first_command_timeout_secs) if application.first_command_timeout else None
            ),
            compat=Compat(**self._services.settings.compat.model_dump(exclude={"ignore_unsupported"})),
        )
        runner = LegRunner(
            leg,
            self._services,
            sip_call=event.call,
            local_address=event.source.local[0],
            offer=offer,
            on_released=self._released,
        )
        self._runners[identity.call_control_id] = runner
        self._none_left.clear()
        self._by_sip_call[event.call] = runner
        self._by_media_leg[runner.media_leg_id] = runner
        self.calls_total += 1
        if self.calls_total == 1 and self._services.settings.speech.warm_up:
            self._services.tasks.start(self._warm_up(), name="warm up speech")
        log.info("call arrived", leg=identity.call_leg_id)
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

    async def _warm_up(self) -> None:
        """Load what transcription needs while the first call still rings."""
        try:
            await self._services.speech.warm_up()
        except SpeechError as error:
            log.warning("transcription may not work", reason=str(error))

    def _released(self, runner: LegRunner) -> None:
        call_control_id = runner.leg.identity.call_control_id
        del self._runners[call_control_id]
        del self._by_sip_call[runner.sip_call]
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
