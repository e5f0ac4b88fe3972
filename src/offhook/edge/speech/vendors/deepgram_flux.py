"""Deepgram's `/v2/listen`: turns of a conversation, told whole with every message. Pure.

A turn is an utterance. The service tells of it about four times a second until `EndOfTurn`.
"""

import json
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from offhook.edge.speech.parameters import DEFAULTS
from offhook.edge.speech.protocol import LanguageUnsupported, ParameterUnsupported, SpeechConfig
from offhook.edge.speech.vendors import hints, reading, verdicts
from offhook.edge.speech.vendors.deepgram_nova import (
    NAME,
    closed,
    dial,
    keyterms,
    words_of,
)
from offhook.edge.speech.vendors.dialect import (
    Dial,
    Ready,
    Said,
    Settled,
    Speaking,
    Trouble,
    Unreadable,
    VendorEvent,
    Wire,
)

_MULTI: Final = "flux-general-multi"
_LANGUAGES: Final = frozenset({"en", "es", "fr", "de", "hi", "ru", "pt", "ja", "it", "nl"})
_NOVA_ONLY: Final = ("enable_speaker_diarization", "enable_endpoint_detection", "utterance_end_ms")
_HOPELESS: Final = frozenset({"UNPARSABLE_CLIENT_MESSAGE", "INVALID_QUERY", "UNSUPPORTED_AUDIO"})


class FluxDialect:
    """One connection to a flux model.

    Raises:
        LanguageUnsupported: the model does not know the language.
        ParameterUnsupported: a field asks for what it cannot do.
    """

    chunk_ms: ClassVar[int] = 80
    keep_alive_s: ClassVar[float | None] = 4.0
    session_max_s: ClassVar[float | None] = None
    realtime: ClassVar[bool] = False
    greets: ClassVar[bool] = True
    answers: ClassVar[bool] = True

    def __init__(self, config: SpeechConfig, model: str) -> None:
        self._dial = dial(config, "/v2/listen", _query(config, model))

    def dial(self) -> Dial:
        """Return where to connect."""
        return self._dial

    def opening(self) -> Sequence[Wire]:
        """Return nothing: all that is wanted stands in the address."""
        return ()

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        """Return the audio."""
        return (pcm,) if pcm else ()

    def keep_alive(self) -> Sequence[Wire]:
        """Return nothing: this service knows no such message, only audio."""
        return ()

    def flush(self) -> Sequence[Wire]:
        """Return what ends the turn now."""
        return (_message("ForceEndTurn"),)

    def finish(self) -> Sequence[Wire]:
        """Return what ends the turn, if one goes on, and the session; the service closes with 1000."""
        return (_message("ForceEndTurn"), _message("CloseStream"))

    def receive(self, message: Wire) -> Sequence[VendorEvent]:
        """Return what a message means."""
        body = reading.json_object(message)
        match body.get("type") if body else None:
            case "Connected":
                return (Ready(),)
            case "TurnInfo":
                return _turn(body or {})
            case "Error":
                hopeless = (body or {}).get("code") in _HOPELESS
                return (
                    verdicts.bad_request(NAME) if hopeless else Trouble("deepgram reports an error", True),
                )
            case str():
                return ()
            case _:
                return (Unreadable(),)

    def refused(self, status: int, body: bytes) -> Trouble:
        """Return what the status of the handshake means."""
        del body
        return verdicts.refused(NAME, status)

    def closed(self, code: int, reason: str) -> Trouble:
        """Return what a close code means."""
        return closed(code, reason)


def _turn(body: dict[str, Any]) -> Sequence[VendorEvent]:
    start_ms, end_ms = (
        reading.seconds(body.get("audio_window_start")),
        reading.seconds(body.get("audio_window_end")),
    )
    event = body.get("event")
    if start_ms is None or end_ms is None or not isinstance(event, str):
        return (Unreadable(),)
    words = words_of(body.get("words"))
    begin_ms = words[0].start_ms if words else start_ms
    languages = body.get("languages")
    text = reading.text(body.get("transcript"))
    said = Said(
        text,
        event == "EndOfTurn",
        begin_ms,
        max((word.end_ms for word in words), default=max(begin_ms, end_ms)),
        reading.mean(_confidences(body.get("words"))),
        words,
        reading.language(languages[0]) if isinstance(languages, list) and languages else None,
        utterance_end=event == "EndOfTurn",
    )
    match event:
        case "EndOfTurn":
            return (said, Settled(end_ms))
        case "StartOfTurn":
            return (Speaking(begin_ms), said) if text else (Speaking(begin_ms),)
        case _:
            # Update, EagerEndOfTurn, TurnResumed and whatever comes to be.
            return (said,) if text else ()


def _confidences(words: Any) -> list[float]:
    """Return those of all words: older deployments tell no times, and then there are no words of ours."""
    known = [reading.share(item.get("confidence")) for item in reading.objects(words)]
    return [share for share in known if share is not None]


def _query(config: SpeechConfig, model: str) -> list[tuple[str, str]]:
    asked = config.parameters
    for name in _NOVA_ONLY:
        if name in asked and asked[name] != DEFAULTS[name]:
            raise ParameterUnsupported(name, f"Deepgram's flux models do not know `{name}`")
    if asked.get("smart_format") is False:
        raise ParameterUnsupported("smart_format", "Deepgram's flux models always format their text")
    query = [
        ("model", model),
        ("encoding", "linear16"),
        ("sample_rate", str(config.sample_rate_hz)),
        *((name, f"{asked[name]:g}") for name in ("eot_threshold", "eager_eot_threshold") if name in asked),
    ]
    if "eot_timeout_ms" in asked:
        query.append(("eot_timeout_ms", str(asked["eot_timeout_ms"])))
    query += [(name, "true") for name in ("numerals", "profanity_filter") if asked.get(name)]
    language = hints.primary_language(config)
    if language is not None:
        known = _LANGUAGES if model == _MULTI else frozenset({"en"})
        if language not in known:
            raise LanguageUnsupported(f"Deepgram's model {model} knows {', '.join(sorted(known))}")
        if model == _MULTI:
            query.append(("language_hint", language))
    return [*query, *keyterms(config)]


def _message(kind: str) -> str:
    return json.dumps({"type": kind})
