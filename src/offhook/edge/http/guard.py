"""The outermost layer: counts every request and turns an unexpected error into an answer."""

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from offhook.base.clock import Clock
from offhook.call.errors import Problem
from offhook.edge.http.problems import envelope
from offhook.edge.http.rates import Allowance

log = structlog.get_logger(__name__)

_ALLOWANCE = "offhook.allowance"
_UNEXPECTED = Problem("10007", "The server failed to handle the request; its log has the details.")


class Guard:
    """ASGI middleware around the whole application.

    An exception that nothing expected becomes 500 with 10007; its details go to the log only. The
    SDKs are told not to retry, because nobody knows how much of the request was done.
    """

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._requests = Counter(
            "offhook_http_requests", "Requests answered", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "offhook_http_request_seconds",
            "Time from a request's headers to its answer",
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        began = self._clock.now()

        async def send_and_watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if (allowance := scope.get(_ALLOWANCE)) is not None:
                    MutableHeaders(scope=message).update(allowance.headers())
            await send(message)

        try:
            await self._app(scope, receive, send_and_watch)
        except Exception as error:  # the outermost loop of this room
            log.error("request failed", route=_route_name(scope), exc_info=error)
            if status != 0:
                raise
            answer = JSONResponse(
                envelope([_UNEXPECTED], 500), status_code=500, headers={"x-should-retry": "false"}
            )
            await answer(scope, receive, send_and_watch)
        finally:
            self._requests.labels(_route_name(scope), str(status)).inc()
            self._seconds.observe(self._clock.now() - began)


def tell_allowance(scope: Scope, allowance: Allowance) -> None:
    """Let the answer to this request tell what its key has left."""
    scope[_ALLOWANCE] = allowance


def _route_name(scope: Scope) -> str:
    # The name of our route, never the path: a label must not grow with what clients send.
    return str(getattr(scope.get("route"), "name", "none"))
