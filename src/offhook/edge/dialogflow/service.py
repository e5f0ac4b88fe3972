"""Opens sessions with agents: imports Google's libraries when first needed, connects, counts."""

import asyncio
import importlib
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offhook.base import limits
from offhook.base.errors import ConfigError, LimitReached
from offhook.edge.dialogflow.names import endpoint_of
from offhook.edge.dialogflow.protocol import Agent, DialogflowNotConfigured, SessionConfig, SessionEvent

if TYPE_CHECKING:
    from offhook.edge.dialogflow.session import DialogflowSession

COUNTERS = (
    "sessions_total",
    "sessions_failed_total",
    "turns_total",
    "turns_failed_total",
    "turns_without_speech_total",
    "replies_interrupted_total",
    "replies_refused_total",
    "audio_dropped_ms_total",
)
_LIBRARIES = ("grpc", "google.cloud.dialogflow_v2", "google.cloud.dialogflowcx_v3")

Resolve = Callable[[str, int], Awaitable[list[tuple[str, int]]]]


class DialogflowService:
    """All conversations of this server.

    Args:
        resolve: returns the permitted addresses of a host, or raises an `OffhookError`.
        endpoint: `http(s)://host:port` to use instead of Google's; empty: Google's.
        ca_file: PEM file of the authorities to trust instead of gRPC's own; empty: those.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """

    def __init__(self, resolve: Resolve, *, endpoint: str = "", ca_file: str = "") -> None:
        self.counters: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))
        self._resolve = resolve
        self._endpoint = endpoint
        self._ca_pem = _read(ca_file) if ca_file else None
        self._sessions: set[DialogflowSession] = set()

    async def open(
        self, agent: Agent, config: SessionConfig, on_event: Callable[[SessionEvent], None]
    ) -> "DialogflowSession":
        """Return a session that connects in the background and tells of it by `Connected` or `Failed`.

        Raises:
            DialogflowNotConfigured: the extra is not installed.
            LimitReached: too many conversations are going on.
        """
        if len(self._sessions) >= limits.DIALOGFLOW_SESSIONS_MAX:
            raise LimitReached(f"at most {limits.DIALOGFLOW_SESSIONS_MAX} Dialogflow conversations at once")
        await self.load()
        from offhook.edge.dialogflow.session import DialogflowSession

        session = DialogflowSession(config, lambda: self._connect(agent, config), on_event, self.counters)
        self._sessions.add(session)
        self.counters["sessions_total"] += 1
        session.start()
        return session

    async def close(self, session: "DialogflowSession") -> None:
        """End one conversation."""
        self._sessions.discard(session)
        await session.close()

    async def close_all(self) -> None:
        """End every conversation."""
        sessions, self._sessions = self._sessions, set()
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)

    def numbers(self) -> dict[str, int]:
        """Return the counters, and how many conversations are going on."""
        return {"sessions_open": len(self._sessions), **self.counters}

    async def load(self) -> None:
        """Import Google's libraries, beside the event loop: it takes a second.

        Raises:
            DialogflowNotConfigured: they are not installed.
        """
        # gRPC would look at every fork of this process, and complain about some.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        try:
            for name in _LIBRARIES:
                await asyncio.to_thread(importlib.import_module, name)
        except ImportError:
            raise DialogflowNotConfigured(
                'Dialogflow is not installed: pip install "offhook[dialogflow]"'
            ) from None

    async def _connect(self, agent: Agent, config: SessionConfig) -> Any:
        from offhook.edge.dialogflow.channel import open_channel
        from offhook.edge.dialogflow.credentials import AccountToken
        from offhook.edge.dialogflow.cx import CxApi
        from offhook.edge.dialogflow.es import EsApi

        token = AccountToken(agent.service_account)
        endpoint = endpoint_of(agent, self._endpoint)
        addresses = await self._resolve(endpoint.host, endpoint.port)
        channel = open_channel(endpoint, addresses, self._ca_pem)
        try:
            api = (CxApi if agent.api == "cx" else EsApi)(channel, agent, config)
            await channel.channel_ready()
            await api.prepare(token.metadata())
        except BaseException:
            await channel.close()
            raise
        return api, token.metadata, channel.close


def _read(ca_file: str) -> bytes:
    try:
        return Path(ca_file).read_bytes()
    except OSError as error:
        raise ConfigError(f"The setting dialogflow.ca_file cannot be read: {error.strerror}.") from None
