"""Which engine serves which name of the API (contract 2.2). Pure.

The names are vendors' names; unless the operator says otherwise each is served by the local engine.
"""

from collections.abc import Mapping
from typing import get_args

from offhook.call.values import EngineName
from offhook.edge.speech.protocol import SpeechError

REJECT = "reject"
DEFAULT_ENGINE = "local"

API_NAMES: tuple[str, ...] = get_args(EngineName)
ALIASES = {"A": "Google", "B": "Telnyx"}

_BY_LOWER_CASE = {name.lower(): name for name in API_NAMES} | {
    alias.lower(): name for alias, name in ALIASES.items()
}


class EngineRejected(SpeechError):
    """The operator does not offer this engine, or nobody knows it."""


def canonical_name(api_name: str) -> str | None:
    """Return the full API name of `api_name` or alias, in any case; None when there is no such engine."""
    return _BY_LOWER_CASE.get(api_name.lower())


class EngineMap:
    """Maps API names to configured engines.

    Args:
        routes: API name (or alias) to engine name, or "reject".
        default: the engine of every name that `routes` leaves out; may be "reject".
    """

    def __init__(self, routes: Mapping[str, str] | None = None, *, default: str = DEFAULT_ENGINE) -> None:
        self._default = default
        self._routes: dict[str, str] = {}
        for api_name, engine in (routes or {}).items():
            name = canonical_name(api_name)
            if name is None:
                raise ValueError(
                    f"no speech engine is called {api_name!r}; the names are {', '.join(API_NAMES)}"
                )
            self._routes[name] = engine

    def engine_for(self, api_name: str) -> str:
        """Return the engine that serves `api_name`.

        Raises:
            EngineRejected: it is switched off, or no such name exists.
        """
        name = canonical_name(api_name)
        if name is None:
            raise EngineRejected("there is no such transcription engine")
        engine = self._routes.get(name, self._default)
        if engine == REJECT:
            raise EngineRejected(f"the transcription engine {name} is not offered here")
        return engine

    def engines(self) -> set[str]:
        """Return every engine that some name leads to."""
        return {engine for name in API_NAMES if (engine := self._routes.get(name, self._default)) != REJECT}
