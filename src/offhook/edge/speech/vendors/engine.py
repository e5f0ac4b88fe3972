"""An engine that is a vendor's service: checks requests, counts sessions, opens them."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from offhook.base.errors import LimitReached
from offhook.base.limits import VENDOR_SESSIONS_MAX
from offhook.base.tasks import TaskSet
from offhook.edge.speech.protocol import (
    Closed,
    EngineInfo,
    OnEvent,
    SpeechConfig,
    SpeechEngine,
    SpeechEvent,
    SpeechUnavailable,
)
from offhook.edge.speech.vendors.dialect import Dialect, Transport
from offhook.edge.speech.vendors.session import VendorSession
from offhook.edge.speech.vendors.websocket import connect_websocket


class VendorEngine(SpeechEngine):
    """Sessions at one vendor.

    Args:
        info: `parameters` are the fields that the dialect honours; any other is refused unless it asks
            for nothing.
        make_dialect: returns a dialect for a request, or raises what `check` raises: it looks at the
            language, the model and the values of parameters.
        options_needed: options without which nothing works, and what to tell a person who left one out.
    """

    def __init__(
        self,
        info: EngineInfo,
        make_dialect: Callable[[SpeechConfig], Dialect],
        *,
        transport: Transport = connect_websocket,
        options_needed: Mapping[str, str] | None = None,
    ) -> None:
        self.info = info
        self._make_dialect = make_dialect
        self._transport = transport
        key = {"api_key": f"its key: set {info.name}.api_key"}
        self._needed = dict(key if options_needed is None else options_needed)
        self._sessions: set[VendorSession] = set()
        self._sessions_max = VENDOR_SESSIONS_MAX
        self._totals: Counter[str] = Counter()
        self._tasks = TaskSet()

    def check(self, config: SpeechConfig) -> None:
        """Raise what `open` would raise for this request.

        Raises:
            SpeechUnavailable: a key is missing.
            LanguageUnsupported: it does not know the language.
            ParameterUnsupported: a field asks for what it cannot do.
            LimitReached: as many tracks as the account may have are open.
        """
        self._check_options(config.options)
        self.info.check(config)
        if config.sample_rate_hz not in self.info.sample_rates_hz:
            raise SpeechUnavailable(f"the {self.info.name} engine does not take that sample rate")
        self._make_dialect(config)
        if self.room() <= 0:
            name = self.info.name
            raise LimitReached(
                f"transcription is full: {self._sessions_max} tracks at {name} ({name}.sessions_max)"
            )

    def room(self) -> int:
        """Return how many more tracks the account takes."""
        return self._sessions_max - len(self._sessions)

    async def ensure_available(self, options: Mapping[str, Any]) -> None:
        """Raise SpeechUnavailable when a key is missing. The vendor is not asked."""
        self._check_options(options)

    async def open(self, config: SpeechConfig, on_event: OnEvent) -> VendorSession:
        """Begin a session. Audio may be pushed at once; it waits while the connection is made.

        Raises:
            SpeechUnavailable: it cannot be served as asked.
            LimitReached: as many tracks as the account may have are open.
        """
        self.check(config)

        def pass_on(event: SpeechEvent) -> None:
            if isinstance(event, Closed):
                self._sessions.discard(session)
            on_event(event)

        session = VendorSession(
            config, self._make_dialect, self._transport, pass_on, tasks=self._tasks, counters=self._totals
        )
        self._sessions.add(session)
        self._totals["sessions_opened"] += 1
        return session

    async def close(self) -> None:
        """End all sessions at once, without their last finals."""
        for session in tuple(self._sessions):
            session.end()
        # Connections are closed politely, for at most a second.
        await self._tasks.wait(timeout_s=1.5)
        await self._tasks.close()

    def counters(self) -> dict[str, int]:
        """Return the open `sessions`, and totals of what went wrong and was mended."""
        zeros = dict.fromkeys(("reconnects", "retries", "rotations", "messages_unreadable"), 0)
        return {**zeros, **self._totals, "sessions": len(self._sessions)}

    def _check_options(self, options: Mapping[str, Any]) -> None:
        for option, what in self._needed.items():
            if not options.get(option):
                raise SpeechUnavailable(f"the {self.info.name} engine lacks {what}")
        self._sessions_max = int(options.get("sessions_max", VENDOR_SESSIONS_MAX))
