"""AssemblyAI's streaming API, version 3: audio in binary messages, one JSON message a step of a turn. Pure.

A turn is an utterance. The text of a turn comes whole with every message, and with `end_of_turn` for
the last time; the older models send that one twice, at last with punctuation.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from offhook.edge.speech.parameters import ENDPOINT, endpoint_ms
from offhook.edge.speech.protocol import (
    EngineInfo,
    LanguageUnsupported,
    ParameterUnsupported,
    SpeechConfig,
    Word,
)
from offhook.edge.speech.vendors import hints, reading, verdicts
from offhook.edge.speech.vendors.dialect import (
    Dial,
    Done,
    Ready,
    Said,
    Settled,
    Speaking,
    Transport,
    Trouble,
    Unreadable,
    VendorEvent,
    Wire,
)
from offhook.edge.speech.vendors.engine import VendorEngine
from offhook.edge.speech.vendors.websocket import connect_websocket

PARAMETERS: Final = (
    hints.PHRASES
    | ENDPOINT
    | {
        "enable_speaker_diarization",
        "max_speaker_count",
        "profanity_filter",
        "smart_format",
    }
)
"""Fields of contract 2.2 that are honoured."""
INFO: Final = EngineInfo(
    name="assemblyai",
    languages=(),
    sample_rates_hz=(8000, 16000),
    needs_network=True,
    word_times="measured",
    parameters=PARAMETERS,
)
MODEL: Final = "universal-3-5-pro"
"""What is used where neither the app nor the operator says."""
_URL: Final = "wss://streaming.assemblyai.com"
_ALIASES: Final = {"universal-streaming": MODEL}
_ROMANCE_AND_GERMANIC: Final = frozenset({"de", "en", "es", "fr", "it", "pt"})
_LANGUAGES: Final[Mapping[str, frozenset[str]]] = {
    "universal-streaming-english": frozenset({"en"}),
    "universal-streaming-multilingual": _ROMANCE_AND_GERMANIC,
    "u3-rt-pro": _ROMANCE_AND_GERMANIC,
    MODEL: _ROMANCE_AND_GERMANIC
    | {"ar", "da", "fi", "he", "hi", "ja", "nl", "no", "sv", "tr", "ur", "vi", "zh"},
}
"""What a model knows; others, such as whisper-rt, are asked for anything."""
_UNTOLD: Final = frozenset({"universal-streaming-english", "universal-streaming-multilingual", "whisper-rt"})
"""Models that take no list of languages: they know theirs, or find out."""
_PHRASES_MAX, _PHRASE_CHARACTERS_MAX = 100, 50
_MESSAGE_MS: Final = (50, 1000)
"""Shorter and longer audio messages end the session (close code 3007)."""
_SILENCE_MS_DEFAULT: Final = 400
"""The longest silence after which some model ends a turn it is sure of, unless told otherwise."""
_INACTIVITY_S: Final = 60
"""So much after our death the service stops to charge; else it would be three hours."""

_NAME: Final = INFO.name
_CODES: Final = {
    1008: verdicts.bad_key(_NAME),
    1013: Trouble("assemblyai is busy", retry=True, retry_after_s=verdicts.BUSY_S),
    3006: verdicts.bad_request(_NAME),
    3009: verdicts.too_many(_NAME),
    4000: verdicts.bad_request(_NAME),
    4001: verdicts.bad_key(_NAME),
    4002: verdicts.no_funds(_NAME),
    4003: verdicts.no_funds(_NAME),
    4029: Trouble("assemblyai was sent audio too fast", retry=True, retry_after_s=verdicts.BUSY_S),
    4100: verdicts.bad_request(_NAME),
    4101: verdicts.bad_request(_NAME),
    4102: verdicts.too_many(_NAME),
}
"""What errors and close codes mean; the rest (3005, 3007, 3008, ...) is over with another connection."""


class AssemblyAiDialect:
    """One connection to AssemblyAI.

    Raises:
        LanguageUnsupported: the model does not know the language.
        ParameterUnsupported: a field asks for what it cannot do.
    """

    chunk_ms: ClassVar[int] = 60
    keep_alive_s: ClassVar[float | None] = 20.0
    session_max_s: ClassVar[float | None] = 3 * 3600.0
    realtime: ClassVar[bool] = True
    greets: ClassVar[bool] = True
    answers: ClassVar[bool] = False

    def __init__(self, config: SpeechConfig) -> None:
        self._key = str(config.options.get("api_key") or "")
        self._model = _model(config)
        self._bytes_per_ms = config.sample_rate_hz * 2 // 1000
        self._formats_later = "format_turns" in (query := _query(config, self._model))
        self._url = f"{str(config.options.get('url') or _URL).rstrip('/')}/v3/ws?{urlencode(query)}"
        self._rest = b""
        self._held: tuple[int, Said] | None = None
        """A turn that is over, and its words, while its formatted text is awaited."""
        self._told_turn = -1

    def dial(self) -> Dial:
        """Return where to connect; the key is the whole header."""
        return Dial(self._url, (("Authorization", self._key),))

    def opening(self) -> Sequence[Wire]:
        """Return nothing: all that is wanted stands in the address."""
        return ()

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        """Return binary messages; what is too short for one waits for the next."""
        least, most = (ms * self._bytes_per_ms for ms in _MESSAGE_MS)
        self._rest += pcm
        messages = []
        while len(self._rest) >= least:
            messages.append(self._rest[:most])
            self._rest = self._rest[most:]
        return messages

    def keep_alive(self) -> Sequence[Wire]:
        """Return a message that says we are still here."""
        return (_message("KeepAlive"),)

    def flush(self) -> Sequence[Wire]:
        """Return what ends the turn now."""
        return (*self._last_audio(), _message("ForceEndpoint"))

    def finish(self) -> Sequence[Wire]:
        """Return what ends the session; the service answers `Termination` after its last words."""
        return (*self._last_audio(), _message("Terminate"))

    def receive(self, message: Wire) -> Sequence[VendorEvent]:
        """Return what a message means."""
        body = reading.json_object(message)
        if body is None:
            return (Unreadable(),)
        match body.get("type"):
            case "Begin":
                return (Ready(),)
            case "SpeechStarted":
                at_ms = reading.milliseconds(body.get("timestamp"))
                return (Unreadable(),) if at_ms is None else (Speaking(at_ms),)
            case "Turn":
                return self._turn(body)
            case "Termination":
                return (*self._let_go(), Done())
            case "Error":
                return (*self._let_go(), _trouble(body.get("error_code"), body.get("error")))
            case None if "error" in body:
                return (*self._let_go(), _trouble(body.get("error_code"), body.get("error")))
            case kind:
                # Warning, Heartbeat, Silence and whatever comes to be.
                return () if isinstance(kind, str) else (Unreadable(),)

    def refused(self, status: int, body: bytes) -> Trouble:
        """Return what the status of the handshake means."""
        del body
        return verdicts.refused(_NAME, status)

    def closed(self, code: int, reason: str) -> Trouble:
        """Return what a close code means."""
        return _trouble(code, reason)

    def _last_audio(self) -> Sequence[Wire]:
        """Return the audio that waits, filled up with silence to what a message must hold."""
        if not self._rest:
            return ()
        filled = self._rest.ljust(_MESSAGE_MS[0] * self._bytes_per_ms, b"\0")
        self._rest = b""
        return (filled,)

    def _turn(self, body: dict[str, Any]) -> Sequence[VendorEvent]:
        turn = reading.whole(body.get("turn_order"))
        if turn is None or turn < 0:
            return (Unreadable(),)
        if turn <= self._told_turn:
            return ()
        earlier = self._let_go() if self._held is not None and turn > self._held[0] else ()
        said = _said(body)
        if not said.final:
            # Once a turn is over only its formatted text counts.
            return (*earlier, said) if self._held is None else earlier
        if self._formats_later and body.get("turn_is_formatted") is not True:
            self._held = (turn, said)
            return (*earlier, replace(said, final=False, utterance_end=False))
        self._held = None
        self._told_turn = turn
        return (*earlier, *_final(said))

    def _let_go(self) -> Sequence[VendorEvent]:
        """Tell the words whose formatted text did not come."""
        if self._held is None:
            return ()
        self._told_turn, said = self._held
        self._held = None
        return _final(said)


def _model(config: SpeechConfig) -> str:
    """Return the app's model where it names one of AssemblyAI's, else the operator's, else the default."""
    vendor, _, asked = (config.model or "").partition("/")
    model = asked if vendor == "assemblyai" else str(config.options.get("model") or MODEL)
    return _ALIASES.get(model, model)


def _query(config: SpeechConfig, model: str) -> dict[str, str]:
    asked = config.parameters
    silence_ms = endpoint_ms(asked, config.endpoint_ms)
    query = {
        "speech_model": model,
        "encoding": "pcm_s16le",
        "sample_rate": str(config.sample_rate_hz),
        "max_turn_silence": str(silence_ms),
        "inactivity_timeout": str(_INACTIVITY_S),
    }
    if silence_ms < _SILENCE_MS_DEFAULT:
        query["min_turn_silence"] = str(silence_ms)
    if model.startswith("universal-streaming-"):
        query["format_turns"] = "true"
    if asked.get("smart_format") is False and query.pop("format_turns", None) is None:
        raise ParameterUnsupported("smart_format", f"the model {model} always formats its text")
    if terms := hints.phrases(config, count_max=_PHRASES_MAX, characters_max=_PHRASE_CHARACTERS_MAX):
        query["keyterms_prompt"] = json.dumps(terms)
    if asked.get("profanity_filter"):
        query["filter_profanity"] = "true"
    if asked.get("enable_speaker_diarization"):
        query["speaker_labels"] = "true"
        if "max_speaker_count" in asked:
            query["max_speakers"] = str(asked["max_speaker_count"])
    language = hints.primary_language(config)
    if language is not None:
        known = _LANGUAGES.get(model)
        if known is not None and language not in known:
            raise LanguageUnsupported(f"the model {model} of assemblyai knows {', '.join(sorted(known))}")
        if model not in _UNTOLD:
            query["language_codes"] = json.dumps([language])
    return query


def _said(body: dict[str, Any]) -> Said:
    words = tuple(word for item in reading.objects(body.get("words")) if (word := _word(item)) is not None)
    final = body.get("end_of_turn") is True
    text = reading.spoken(body.get("transcript"))
    spoken = " ".join(word.text for word in words)
    if not final and len(spoken) > len(text):
        # The older models leave the word that may still change out of the text, and nowhere else.
        text = spoken
    return Said(
        text,
        final,
        start_ms=words[0].start_ms if words else 0,
        end_ms=max((word.end_ms for word in words), default=0),
        confidence=reading.mean([word.confidence for word in words if word.confidence is not None]),
        words=words,
        language=reading.language(body.get("language_code")),
        utterance_end=final,
    )


def _word(item: dict[str, Any]) -> Word | None:
    text = reading.spoken(item.get("text"))
    start_ms, end_ms = reading.milliseconds(item.get("start")), reading.milliseconds(item.get("end"))
    if not text or start_ms is None or end_ms is None:
        return None
    speaker = item.get("speaker")
    return Word(
        text,
        start_ms,
        max(start_ms, end_ms),
        confidence=reading.share(item.get("confidence")),
        speaker=speaker if isinstance(speaker, str) else None,
    )


def _final(said: Said) -> Sequence[VendorEvent]:
    said = replace(said, final=True, utterance_end=True)
    return (said, Settled(said.end_ms)) if said.words else (said,)


def _trouble(code: Any, reason: Any) -> Trouble:
    known = _CODES.get(code) if isinstance(code, int) else None
    if known is None:
        shown = f" with code {code}" if isinstance(code, int) else ""
        return Trouble(f"assemblyai ended the session{shown}", retry=True)
    if code == 1008 and isinstance(reason, str) and "concurrent" in reason.lower():
        return _CODES[3009]
    return known


def _message(kind: str) -> str:
    return json.dumps({"type": kind})


class AssemblyAiEngine(VendorEngine):
    """Sessions at AssemblyAI."""

    def __init__(self, transport: Transport = connect_websocket) -> None:
        super().__init__(INFO, AssemblyAiDialect, transport=transport)


ENGINE = AssemblyAiEngine()
