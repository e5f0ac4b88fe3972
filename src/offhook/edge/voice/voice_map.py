"""Which engine speaks for which voice that an app names."""

from collections.abc import Mapping

from offhook.edge.voice.protocol import VoiceRejected

REJECT = "reject"


class VoiceMap:
    """The operator's map from voices to engines.

    Args:
        routes: engines by voice, or by the beginning of voices before a dot: `AWS`, `AWS.Polly.Joanna`,
            `female`. The longest that fits decides, in whatever case.
        default: the engine of every other voice. `reject` refuses.
    """

    def __init__(self, routes: Mapping[str, str] | None = None, *, default: str = "local") -> None:
        self._routes = {name.lower(): engine for name, engine in (routes or {}).items()}
        self._default = default

    def engines(self) -> set[str]:
        """Return the engines that some voice leads to."""
        return ({*self._routes.values(), self._default}) - {REJECT}

    def engine_for(self, voice: str) -> str:
        """Return the engine that speaks for `voice`, or raise VoiceRejected."""
        name = voice.lower()
        while name and name not in self._routes:
            name = name.rpartition(".")[0]
        engine = self._routes.get(name, self._default)
        if engine == REJECT:
            raise VoiceRejected("this server does not offer that voice")
        return engine
