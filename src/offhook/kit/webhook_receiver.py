"""Receives webhooks on a port, verifies each and hands it on: for tests and for looking at them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from offhook.base.clock import Clock, SystemClock
from offhook.base.errors import ConfigError
from offhook.kit.webhook import WebhookInvalid, verify, verify_query

WEBHOOK_BODY_BYTES_MAX = 1024 * 1024
"""Larger requests are answered 413 and not read."""
NO_KEY = "no public key was given"


@dataclass(frozen=True, slots=True)
class ReceivedWebhook:
    """One request as it came in. `problem` says why it is not verified; None means that it is."""

    event_type: str
    id: str
    call_control_id: str
    attempt: int
    payload: dict[str, Any]
    problem: str | None


class WebhookReceiver:
    """An HTTP server that takes webhooks at any path.

    A verified webhook is answered 200, one that fails verification 401. Without a public key
    everything that parses is answered 200 and reported as not verified.
    """

    def __init__(
        self,
        on_webhook: Callable[[ReceivedWebhook], None],
        *,
        public_key: str | Sequence[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._on_webhook = on_webhook
        self._public_key = public_key
        self._clock = clock or SystemClock()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port.

        Raises:
            ConfigError: the address cannot be taken.
        """
        app = web.Application(client_max_size=WEBHOOK_BODY_BYTES_MAX)
        app.router.add_post("/{path:.*}", self._receive)
        app.router.add_get("/{path:.*}", self._receive_query, allow_head=False)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"Cannot listen at {host}:{port} ({reason}): choose another port.") from None
        self._runner = runner
        bound: int = runner.addresses[0][1]
        return bound

    async def close(self) -> None:
        """Stop listening; requests under way are answered first, for two seconds at most."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _receive(self, request: web.Request) -> web.Response:
        received = self._read(await request.read(), dict(request.headers))
        self._on_webhook(received)
        trusted = received.problem is None or received.problem == NO_KEY
        return web.Response(status=200 if trusted else 401)

    async def _receive_query(self, request: web.Request) -> web.Response:
        """Take a webhook by GET. Somebody who only looks with a browser is not told of."""
        if "event_type" not in request.query:
            raise web.HTTPMethodNotAllowed("GET", ["POST"])
        query, problem = request.rel_url.raw_query_string, None
        members = dict(request.query)
        if self._public_key is None:
            problem = NO_KEY
        else:
            try:
                now = self._clock.unix_time()
                members = verify_query(query, request.headers, self._public_key, now)
            except WebhookInvalid as error:
                problem = str(error)
        self._on_webhook(
            ReceivedWebhook(
                event_type=members.pop("event_type"),
                id=members.pop("id", "?"),
                call_control_id=members.get("call_control_id", ""),
                attempt=0,
                payload=dict(members),
                problem=problem,
            )
        )
        return web.Response(status=200 if problem in (None, NO_KEY) else 401)

    def _read(self, body: bytes, headers: dict[str, str]) -> ReceivedWebhook:
        if self._public_key is None:
            return _unverified(body, NO_KEY)
        try:
            event = verify(body, headers, self._public_key, self._clock.unix_time())
        except WebhookInvalid as error:
            return _unverified(body, str(error))
        return ReceivedWebhook(
            event_type=event.event_type,
            id=event.id,
            call_control_id=str(event.payload.get("call_control_id", "")),
            attempt=event.attempt,
            payload=event.payload,
            problem=None,
        )


def _unverified(body: bytes, problem: str) -> ReceivedWebhook:
    """Return what a body that nobody vouches for claims to be, as far as it can be read."""
    data, payload, attempt = {}, {}, 0
    try:
        envelope = json.loads(body)
        data = envelope["data"] if isinstance(envelope["data"], dict) else {}
        payload = data["payload"] if isinstance(data["payload"], dict) else {}
        attempt = int(envelope["meta"]["attempt"])
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return ReceivedWebhook(
        event_type=str(data.get("event_type", "?")),
        id=str(data.get("id", "?")),
        call_control_id=str(payload.get("call_control_id", "")),
        attempt=attempt,
        payload=payload,
        problem=problem,
    )
