"""What an engine, a session and their events are. Knows no engine and starts nothing.

There are two kinds of engine. A `SpeechEngine` takes a track and gives events (a vendor's socket,
the scripted engine). A `SegmentEngine` only turns one cut piece of speech into text; the worker
processes of `pool` give it voice detection, segments, partials and finals.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from offhook.base.errors import OffhookError
from offhook.edge.speech import parameters

Track = Literal["rx", "tx"]
WordTimes = Literal["none", "estimated", "measured"]
"""Where the times of words come from: the engine measured them, or they are spread over the speech."""


class SpeechError(OffhookError):
    """Root of what can go wrong in this room; the text is one sentence for a person."""


class SpeechUnavailable(SpeechError):
    """The engine cannot run here; the text says what to install or change."""


class SpeechNotInstalled(SpeechUnavailable):
    """The extra that the engine needs was never installed: a choice, where damage is a mistake."""


class LanguageUnsupported(SpeechUnavailable):
    """The engine does not know the language that was asked for."""


class ParameterUnsupported(SpeechUnavailable):
    """The engine cannot do what a field of `transcription_engine_config` asks for."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(detail)
        self.parameter = parameter
        """The field's name (contract 2.2)."""


class TranscriptionFailed(SpeechError):
    """A session could not be kept alive."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine can do, so that the caller need not try."""

    name: str
    languages: tuple[str, ...]
    """Primary language tags ("en"); empty means any."""
    detects_language: bool = False
    """True when "auto" is the engine's to find out; otherwise it means the first of `languages`."""
    sample_rates_hz: tuple[int, ...] = (8000,)
    partials: bool = True
    confidence: bool = True
    needs_network: bool = False
    word_times: WordTimes = "none"
    parameters: frozenset[str] = frozenset()
    """Fields of `transcription_engine_config` (contract 2.2) that the engine honours."""

    def language_for(self, asked: str) -> str:
        """Return the language the engine will use for `asked`, or raise LanguageUnsupported.

        "auto" and "auto_detect" mean the engine's own choice; regions are ignored ("en-US" is "en").
        """
        primary = asked.replace("_", "-").split("-")[0].lower()
        if not self.languages:
            return asked
        if asked == "" or primary == "auto":
            return "auto" if self.detects_language else self.languages[0]
        if primary in self.languages:
            return primary
        known = ", ".join(self.languages)
        # Only a short tag is repeated: the value comes from outside.
        shown = primary if primary.isalnum() and len(primary) <= 12 else "that one"
        raise LanguageUnsupported(f"the {self.name} engine knows {known}, not {shown}: choose another engine")

    def check(self, config: "SpeechConfig") -> None:
        """Raise LanguageUnsupported or ParameterUnsupported for what the engine cannot do of a request."""
        self.language_for(config.language)
        for name in parameters.refused(config.parameters, self.parameters):
            raise ParameterUnsupported(
                name, f"the {self.name} engine cannot do `{name}`: leave it out, or choose another engine"
            )


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """How one track is to be transcribed.

    Audio is s16le, mono. `options` are the operator's settings of the engine.
    """

    language: str = "en"
    interim: bool = False
    api_name: str = "Google"
    """The name by which the app asked for an engine (contract 2.2), never an alias."""
    model: str | None = None
    """The model that the app asked for, as in "deepgram/nova-3"; the engine's own where it knows no such model."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Checked fields of `transcription_engine_config` by their API names, without language, model, interim."""
    track: Track = "rx"
    sample_rate_hz: int = 8000
    endpoint_ms: int = 500
    """Silence that ends an utterance."""
    max_segment_s: float = 12.0
    partial_ms: int = 500
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not parameters.ENDPOINT_MS_MIN <= self.endpoint_ms <= parameters.ENDPOINT_MS_MAX:
            raise ValueError("endpoint_ms must be 100 to 5000")
        if not 2.0 <= self.max_segment_s <= 15.0:
            # Above 15 s the local model loops and its memory grows fast.
            raise ValueError("max_segment_s must be 2 to 15")
        if not 100 <= self.partial_ms <= 10_000:
            raise ValueError("partial_ms must be 100 to 10000")
        if self.sample_rate_hz not in (8000, 16000):
            raise ValueError("sample_rate_hz must be 8000 or 16000")


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody began to speak."""

    at_ms: int
    utterance_id: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """They stopped; the final of the utterance follows if there were words in it."""

    at_ms: int
    utterance_id: int


@dataclass(frozen=True, slots=True)
class Word:
    """One word and when it was said, on the clock of the audio that was pushed."""

    text: str = field(repr=False)
    start_ms: int
    end_ms: int
    confidence: float | None = None
    speaker: str | None = None
    """Who said it, where the engine tells speakers apart."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Words so far of an utterance that goes on; a later event of the same utterance replaces it."""

    # Never in a repr: transcripts must not reach a log by accident.
    text: str = field(repr=False)
    confidence: float | None
    language: str
    start_ms: int
    end_ms: int
    utterance_id: int
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Final:
    """Words that will not change: an utterance, or with `utterance_end` False a piece of one."""

    text: str = field(repr=False)
    confidence: float | None
    language: str
    start_ms: int
    end_ms: int
    utterance_id: int
    words: tuple[Word, ...] = ()
    utterance_end: bool = True


@dataclass(frozen=True, slots=True)
class Error:
    """Something broke. With `recovering`, the session goes on; else `Closed` follows at once."""

    reason: str
    recovering: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """Another engine goes on with the track, because the last one broke off or could not be had."""

    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class SessionStats:
    """What became of a session's audio."""

    audio_ms: int = 0
    dropped_ms: int = 0
    partials: int = 0
    finals: int = 0
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """The last event of a session, exactly once."""

    stats: SessionStats


SpeechEvent = SpeechStarted | SpeechEnded | Partial | Final | Error | Replaced | Closed
OnEvent = Callable[[SpeechEvent], None]
"""Called on the event loop, in order; it must not block."""


class SpeechSession(Protocol):
    """One track being transcribed."""

    def push(self, pcm: bytes, at_ms: int) -> None:
        """Take audio that begins at `at_ms` of the leg's clock. Never blocks, never raises on input."""
        ...

    def flush(self) -> None:
        """End the utterance now, as if silence had been heard."""
        ...

    async def close(self) -> None:
        """Deliver the last final (for at most 2 s), then `Closed`. Safe to call twice."""
        ...

    def stats(self) -> SessionStats:
        """Return the counters so far."""
        ...

    def waiting_ms(self) -> int:
        """Return how much pushed audio has not been heard, or was cut off and waits for its words.

        Whoever pushes faster than real time waits until it is small, so that nothing is dropped. After
        `flush` it is 0 once all finals of what was pushed before have been told; what a service of the
        network has not begun to answer by then comes with `close`.
        """
        ...

    def unfinished(self) -> list[tuple[int, bytes]]:
        """Return the audio that no final covers yet, as (start in ms, s16le), oldest first.

        Bounded; still there after `Error(recovering=False)`, so that another engine can go on with it.
        """
        ...


class SpeechEngine(ABC):
    """Turns tracks into events. Safe to share by all calls of a process."""

    info: EngineInfo

    @abstractmethod
    async def open(self, config: SpeechConfig, on_event: OnEvent) -> SpeechSession:
        """Begin a session.

        Raises:
            SpeechUnavailable: the engine cannot run here, or not in that language.
            LimitReached: it is full.
        """

    def check(self, config: SpeechConfig) -> None:
        """Raise what `open` would raise for this request, as far as can be told at once.

        Raises:
            LanguageUnsupported: it does not know the language.
            ParameterUnsupported: a field asks for what it cannot do.
            LimitReached: it is full.
        """
        self.info.check(config)

    def room(self) -> int | None:
        """Return how many more tracks it takes now; None: as many as one likes."""
        return None

    def counters(self) -> dict[str, int]:
        """Return gauges and totals of its own, for metrics."""
        return {}

    async def ensure_available(self, options: Mapping[str, Any]) -> None:  # noqa: B027 - most engines need nothing
        """Raise SpeechUnavailable if the engine cannot run here with these options, as `open` would.

        Cheap after the first time.
        """

    async def close(self) -> None:  # noqa: B027 - most engines own nothing
        """End what the engine started. Sessions still open are closed without a last final."""


@dataclass(frozen=True, slots=True)
class SegmentConfig:
    """What a session wants of all its segments."""

    language: str = "en"
    """As `EngineInfo.language_for` gave it; "auto" leaves it to the model."""
    phrases: tuple[str, ...] = ()
    """What is likely to be said; for engines that honour a field which holds such phrases."""


PLAIN = SegmentConfig()


@dataclass(frozen=True, slots=True)
class Heard:
    """The text of one segment and how sure the engine is (0 to 1), or None where it cannot tell."""

    text: str = field(repr=False)
    confidence: float | None
    words: tuple[Word, ...] = ()
    """One for each word of `text`, with times from the beginning of the segment; or none at all."""
    language: str | None = None
    """What the engine took it for, where it finds out."""


class VoiceDetector(Protocol):
    """Says how likely a frame holds speech; keeps state from frame to frame, so one per track."""

    frame_samples: int

    def probability(self, frame: bytes) -> float:
        """Return 0 to 1 for exactly `frame_samples` s16le samples."""
        ...

    def reset(self) -> None:
        """Forget what was heard."""
        ...


class SegmentRecognizer(Protocol):
    """A loaded model: lives in a worker process, is used by one thread."""

    def transcribe(self, pcm: bytes, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> Heard:
        """Return the words of one segment of speech (s16le, mono)."""
        ...

    def detector(self, sample_rate_hz: int) -> VoiceDetector:
        """Return a new voice detector for one track."""
        ...


class SegmentDecoder(Protocol):
    """Hears one segment while it is spoken."""

    def hear(self, pcm: bytes) -> Heard:
        """Take the samples that follow (s16le, mono) and return the words so far."""
        ...

    def end(self) -> Heard:
        """Return the words of all that was taken; the decoder is of no more use."""
        ...


@runtime_checkable
class IncrementalRecognizer(SegmentRecognizer, Protocol):
    """A loaded model that need not hear a segment anew for each partial."""

    def begin(self, sample_rate_hz: int, config: SegmentConfig = PLAIN) -> SegmentDecoder:
        """Return a decoder for one segment; many may go on at the same time."""
        ...


class DecodeAbandoned(Exception):
    """Raised by `meanwhile`, through the model: what it decodes is not wanted any more."""


@runtime_checkable
class ObligingRecognizer(SegmentRecognizer, Protocol):
    """A model that calls `meanwhile` between the steps of a decode, every few milliseconds.

    So what others are owed does not wait for the end of a long decode. `meanwhile` may raise
    DecodeAbandoned, which the model lets pass.
    """

    meanwhile: Callable[[], None]


class SegmentEngine(ABC):
    """An engine that turns one cut segment into text and is run by the worker processes."""

    info: EngineInfo

    def info_for(self, options: Mapping[str, Any]) -> EngineInfo:
        """Return what the engine can do with these options, where that depends on the model. Never raises."""
        del options
        return self.info

    @abstractmethod
    def check(self, options: Mapping[str, Any]) -> None:
        """Raise SpeechUnavailable if `load` could not work here. May read files; loads no model."""

    @abstractmethod
    def load(self, options: Mapping[str, Any]) -> SegmentRecognizer:
        """Load the model. Called once, in a worker process."""
