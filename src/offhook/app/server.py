"""One server process: makes every edge, ties them together, and takes them down in order."""

import asyncio
import gc
import ipaddress
import os
import resource
import signal
import socket
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from offhook.app.applications import Applications
from offhook.app.calls import Calls
from offhook.app.deliveries import DeliveryLog
from offhook.app.dialogflow import Agents
from offhook.app.keys import InstallationKeys, follow_keys, load_or_create_keys
from offhook.app.metrics import make_registry
from offhook.app.preflight import find_warnings
from offhook.app.recording_log import RecordingLog
from offhook.app.recovery import end_calls_of_last_run
from offhook.app.services import Services
from offhook.app.settings import Settings
from offhook.app.speech import inspect_speech, make_speech
from offhook.app.transcription_sockets import SpeechSockets
from offhook.app.trunk_addresses import TrunkAddresses
from offhook.app.trunks import Trunks
from offhook.app.voice import inspect_voice, make_voice
from offhook.base import limits
from offhook.base.clock import SystemClock
from offhook.base.errors import ConfigError
from offhook.base.ids import CallControlIds, system_random, uuid4
from offhook.base.log import set_up_logs
from offhook.base.tasks import TaskSet
from offhook.call.codecs import CodecPolicy
from offhook.edge.egress import Egress
from offhook.edge.http.app import create_app
from offhook.edge.http.auth import ApiKeys
from offhook.edge.http.commands import Rules
from offhook.edge.http.rates import RateLimit
from offhook.edge.http.server import HttpServer
from offhook.edge.http.transcription_socket import TranscriptionSockets
from offhook.edge.media.engine import MediaError
from offhook.edge.media.native import NativeEngine
from offhook.edge.sip import Listen, SipServer
from offhook.edge.store import ApplicationTable, Deliveries, DialogflowConnections, RecordingTable, Store
from offhook.edge.webhook import Outbox, Poster, SigningKeys, WebhookSender
from offhook.edge.webhook.sender import SenderSettings
from offhook.proto.sdp import CODECS
from offhook.proto.sip import UserAgentConfig
from offhook.proto.webhook import RetrySchedule, WebhookSigner

log = structlog.get_logger(__name__)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Raises:
        ConfigError: something outside must change first; nothing was left running.
    """
    set_up_logs(level=settings.log.level, style=settings.log.format)
    _raise_file_limit()
    return uvloop.run(_Server(settings).serve())


class _Server:
    """The edges of one server, in the order in which they come up; they go down in reverse."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._stop = asyncio.Event()
        self._stop_at_once = asyncio.Event()

    async def serve(self) -> int:
        async with AsyncExitStack() as stack:
            ready_line = await self._start(stack)
            self._listen_to_signals()
            _keep_out_of_collections()
            print(ready_line, flush=True)  # noqa: T201 - the line that scripts wait for
            await self._stop.wait()
            await self._drain()
        return 0

    async def _start(self, stack: AsyncExitStack) -> str:
        settings = self._settings
        keys = load_or_create_keys(settings.data_dir, api_keys=settings.secrets)
        signing_keys = SigningKeys(settings.data_dir)
        store = Store.open(settings.data_dir)
        stack.callback(store.close)
        ids = CallControlIds(
            store.lasting_bytes("node_id", 8, system_random),
            store.lasting_bytes("installation_secret", 32, system_random),
        )
        user_id = uuid4(lambda count: store.lasting_bytes("user_id", count, system_random))

        egress = Egress(
            allow_private=settings.allow_private_egress,
            allowed_networks=settings.egress.allowed_networks,
            denied_networks=settings.egress.denied_networks,
        )
        deliveries = Deliveries(store)
        outbox = Outbox(
            deliveries,
            self._clock,
            schedule=RetrySchedule(
                fast_waits_s=settings.webhooks.retry_fast_s,
                slow_waits_s=settings.webhooks.retry_slow_s,
                give_up_after_s=settings.webhooks.give_up_after_s,
            ),
        )
        media = self._media()
        stack.callback(media.shutdown)
        sip = SipServer(
            UserAgentConfig(user_agent=settings.sip.user_agent, max_calls=settings.limits.legs),
            lambda event: self._calls.on_sip_event(event),
            public_address=settings.sip.public_address or None,
        )
        speech = make_speech(settings)
        stack.push_async_callback(speech.close)
        await inspect_speech(speech)
        voice = make_voice(settings.voice)
        stack.push_async_callback(voice.close)
        await inspect_voice(voice)
        sources = {source for route in settings.routes for source in route.sources}
        trunk_addresses = TrunkAddresses(settings.trunks, sources)
        await trunk_addresses.refresh()
        applications = Applications(settings, self._clock, ApplicationTable(store), trunks=trunk_addresses)
        await applications.load()
        services = Services(
            settings=settings,
            clock=self._clock,
            sip=sip,
            media=media,
            speech=speech,
            voice=voice,
            outbox=outbox,
            egress=egress,
            applications=applications,
            codecs=CodecPolicy(
                settings.sip.codec_names,
                ours_first=settings.sip.codec_order == "ours",
                opaque=frozenset(codec for codec in CODECS if not media.transcodable(codec)),
            ),
            agents=Agents(
                DialogflowConnections(store),
                settings.dialogflow,
                egress.resolve,
                lambda connection_id: applications.find(connection_id) is not None,
            ),
            recording_table=RecordingTable(store),
            recording_secret=store.lasting_bytes("recording_url_secret", 32, system_random),
            tasks=TaskSet(),
        )
        self._calls = Calls(
            services,
            call_control_ids=ids,
            user_id=user_id,
            public_keys=signing_keys.published,
            trunks=Trunks(settings.trunks),
        )

        sender = await self._start_webhooks(stack, outbox, egress, signing_keys)
        await end_calls_of_last_run(deliveries, outbox, now=self._clock.now())
        stack.push_async_callback(services.tasks.close)
        stack.push_async_callback(services.agents.close)
        stack.push_async_callback(services.sounds.close)
        stack.push_async_callback(services.recordings.close)
        services.tasks.start(services.agents.warm_up(), name="warm up dialogflow")
        services.tasks.start(trunk_addresses.follow(), name="follow the addresses of trunks")
        media.attach(asyncio.get_running_loop(), self._calls.on_media_event)
        stack.callback(media.detach)
        registry = make_registry(services, self._calls)
        self._transcriptions = TranscriptionSockets(
            SpeechSockets(speech), registry=registry, ignore_unsupported=settings.compat.ignore_unsupported
        )
        http = self._http(services, keys, registry, DeliveryLog(deliveries, outbox, sender, user_id=user_id))
        await http.start()
        stack.push_async_callback(http.close)
        stack.push_async_callback(self._transcriptions.close)
        services.recordings.urls.base_url = settings.http.public_url or http.url
        await services.recordings.start()
        await sip.start([Listen(*listen) for listen in settings.sip.listeners])
        stack.push_async_callback(sip.close)
        self._tell_first_start(keys)
        for warning in find_warnings(settings):
            log.warning(warning)
        listeners = ",".join(f"{listen.transport}:{listen.host}:{listen.port}" for listen in sip.bound)
        return f"offhook ready api={http.url}/v2 sip={listeners} public_key={keys.public_key}"

    async def _start_webhooks(
        self, stack: AsyncExitStack, outbox: Outbox, egress: Egress, keys: SigningKeys
    ) -> WebhookSender:
        settings = self._settings.webhooks

        def signer() -> WebhookSigner:
            return WebhookSigner(keys.current, standard_webhooks=settings.standard_webhooks_compat)

        poster = Poster(egress, signer(), self._clock)
        following = TaskSet()
        following.start(follow_keys(keys, lambda: poster.sign_with(signer())), name="follow the webhook keys")
        stack.push_async_callback(following.close)
        sender = WebhookSender(
            outbox,
            poster,
            self._clock,
            SenderSettings(
                timeout_s=settings.timeout_s,
                in_flight_max=settings.attempts_at_once,
                per_origin_max=settings.attempts_at_once_per_receiver,
                per_s=settings.attempts_per_s,
                delivered_kept_s=settings.delivered_kept_s,
                failed_kept_s=settings.failed_kept_s,
                ended_kept_max=settings.log_max,
            ),
        )
        await sender.start()
        stack.push_async_callback(sender.close, limits.WEBHOOK_CLOSE_GRACE_S)
        return sender

    def _media(self) -> NativeEngine:
        settings = self._settings
        try:
            return NativeEngine(
                workers=settings.media.workers or os.cpu_count() or 1,
                bind_address=media_address([listen.host for listen in settings.sip.listeners]),
                port_range=settings.media.port_range,
                drain_s=settings.media.drain_s,
                ca_file=settings.stream.ca_file or None,
                tls_verify=settings.stream.tls_verify,
            )
        except MediaError as error:
            raise ConfigError(f"The media core cannot start: {str(error).rstrip('.')}.") from None

    def _http(
        self,
        services: Services,
        keys: InstallationKeys,
        registry: CollectorRegistry,
        log_of_deliveries: DeliveryLog,
    ) -> HttpServer:
        assert services.recording_table is not None, "a server remembers its recordings"
        api = create_app(
            self._calls,
            auth=ApiKeys(keys.api_keys),
            rules=Rules(
                check_ip=services.egress.check_ip,
                ignore_unsupported=self._settings.compat.ignore_unsupported,
                silence_when_idle=self._settings.media.send_silence_when_idle,
                has_sound_folder=bool(self._settings.media.folder),
            ),
            clock=self._clock,
            registry=registry,
            dialogflow=services.agents,
            deliveries=log_of_deliveries,
            applications=services.applications,
            recordings=RecordingLog(services.recordings, services.recording_table),
            rate_limit=self._rate_limit(),
            transcriptions=self._transcriptions,
        )
        host, port = self._settings.http.address
        return HttpServer(api, host=host, port=port)

    def _rate_limit(self) -> RateLimit | None:
        bounds = self._settings.limits
        return RateLimit(bounds.requests, bounds.requests_window_s) if bounds.requests else None

    def _tell_first_start(self, keys: InstallationKeys) -> None:
        if keys.new_api_key is not None:
            print(  # a person must see it once; it is not a log line  # noqa: T201
                f"The API key of this server, kept in {self._settings.data_dir / 'api_keys'}: {keys.new_api_key}",
                file=sys.stderr,
                flush=True,
            )

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._stop_at_once.set()
        self._stop.set()

    async def _drain(self) -> None:
        """Take no new calls, let running ones end, then hang up what is left."""
        self._calls.stop_accepting()
        self._transcriptions.stop_accepting()
        if len(self._calls):
            log.info("draining; a second signal ends the calls at once", calls=len(self._calls))
        await _first_of(
            self._calls.wait_until_none(), self._stop_at_once.wait(), timeout_s=self._settings.drain_timeout_s
        )
        self._calls.hang_up_all()
        await _first_of(self._calls.wait_until_none(), timeout_s=limits.ENDING_TIMEOUT_S + 1.0)
        log.info("stopped", calls_left=len(self._calls))


def _keep_out_of_collections() -> None:
    """Let the collector look at calls only: some 100,000 objects of code and schemas stay for good, and to
    walk over them held the event loop up for 60 ms, now and then."""
    gc.collect()
    gc.freeze()


async def _first_of(*waits: Coroutine[Any, Any, object], timeout_s: float) -> None:
    """Return when one of `waits` has ended, or after `timeout_s`."""
    tasks = TaskSet()
    running = [tasks.start(wait, name="wait") for wait in waits]
    await asyncio.wait(running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    await tasks.close()


def media_address(hosts: Sequence[str]) -> str:
    """Return the address that RTP is bound to: that of the SIP listeners when they agree on one.

    Raises:
        ConfigError: one of them is no address, or IPv4 and IPv6 stand side by side.
    """
    found = {_numeric(host) for host in hosts}
    versions = {address.version for address in found}
    if len(versions) > 1:
        raise ConfigError(
            "The SIP listeners mix IPv4 and IPv6, and RTP can use only one: set OFFHOOK_SIP_LISTEN to one of them."
        )
    if len(found) == 1:
        return str(found.pop())
    return "::" if 6 in versions else "0.0.0.0"


def _numeric(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(str(socket.getaddrinfo(host, None)[0][4][0]))
    except (OSError, ValueError):
        raise ConfigError(
            f"Cannot listen for SIP at {host}: it has no address; set OFFHOOK_SIP_LISTEN to another."
        ) from None


def _raise_file_limit() -> None:
    """Use all the file descriptors we may: each call needs two to five."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
