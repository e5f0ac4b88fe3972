"""Deepgram's `/v1/listen`: audio in binary messages, results that cover the audio piece by piece. Pure.

A result with `is_final` is a piece of an utterance; `speech_final`, or the later `UtteranceEnd`, is
its end. Every stretch of audio gets a final result, without words where nobody spoke.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from offhook.edge.speech.parameters import DEFAULTS
from offhook.edge.speech.protocol import LanguageUnsupported, ParameterUnsupported, SpeechConfig, Word
from offhook.edge.speech.vendors import hints, reading, verdicts
from offhook.edge.speech.vendors.dialect import (
    Dial,
    Done,
    Said,
    Settled,
    Speaking,
    Trouble,
    Unreadable,
    VendorEvent,
    Wire,
)

NAME: Final = "deepgram"
URL: Final = "wss://api.deepgram.com"
KEYTERMS_MAX, KEYTERM_CHARACTERS_MAX = 100, 100
KEYTERM_TOTAL_CHARACTERS_MAX: Final = 1_500
"""Deepgram takes 500 tokens of them; a token has three letters at least in most languages."""
_NOVA_2_CODES: Final = """en en-us en-au en-gb en-in en-nz bg ca zh zh-cn zh-hans zh-tw zh-hant zh-hk cs da
da-dk nl nl-be et fi fr fr-ca de de-ch el hi hu id it ja ko ko-kr lv lt ms no pl pt pt-br pt-pt ro ru sk
es es-419 sv sv-se th th-th tr uk vi"""
_NOVA_3_CODES: Final = "ar be bn bs fa gu gu-in he hr kn mk mr ne pa pa-in sl sr ta te tl ur"
_NOVA_2: Final = frozenset(_NOVA_2_CODES.split())
_NOVA_3: Final = _NOVA_2 | frozenset(_NOVA_3_CODES.split())
_CASED: Final = {"hans": "Hans", "hant": "Hant"}
_FLUX_ONLY: Final = ("eot_threshold", "eager_eot_threshold", "eot_timeout_ms")


class NovaDialect:
    """One connection to a nova model.

    Raises:
        LanguageUnsupported: the model does not know the language.
        ParameterUnsupported: a field asks for what it cannot do.
    """

    chunk_ms: ClassVar[int] = 80
    keep_alive_s: ClassVar[float | None] = 4.0
    session_max_s: ClassVar[float | None] = None
    realtime: ClassVar[bool] = False
    greets: ClassVar[bool] = False
    answers: ClassVar[bool] = True

    def __init__(self, config: SpeechConfig, model: str) -> None:
        self._dial = dial(config, "/v1/listen", _query(config, model))
        self._piece_open = False
        """A final piece was told whose utterance has no end yet."""

    def dial(self) -> Dial:
        """Return where to connect."""
        return self._dial

    def opening(self) -> Sequence[Wire]:
        """Return nothing: all that is wanted stands in the address."""
        return ()

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        """Return the audio; an empty message would end the session."""
        return (pcm,) if pcm else ()

    def keep_alive(self) -> Sequence[Wire]:
        """Return a message that says we are still here; without one the service closes after 10 s."""
        return (_message("KeepAlive"),)

    def flush(self) -> Sequence[Wire]:
        """Return what asks for the final of all audio so far."""
        return (_message("Finalize"),)

    def finish(self) -> Sequence[Wire]:
        """Return what ends the session; the service answers `Metadata` after its last words."""
        return (_message("CloseStream"),)

    def receive(self, message: Wire) -> Sequence[VendorEvent]:
        """Return what a message means."""
        body = reading.json_object(message)
        match body.get("type") if body else None:
            case "Results":
                return self._results(body or {})
            case "SpeechStarted":
                at_ms = reading.seconds((body or {}).get("timestamp"))
                return (Unreadable(),) if at_ms is None else (Speaking(at_ms),)
            case "UtteranceEnd":
                return self._utterance_end(body or {})
            case "Metadata":
                return (Done(),)
            case "Error":
                return (Trouble("deepgram reports an error", retry=True),)
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

    def _results(self, body: dict[str, Any]) -> Sequence[VendorEvent]:
        start_ms, duration_ms = reading.seconds(body.get("start")), reading.seconds(body.get("duration"))
        channel = body.get("channel")
        alternatives = reading.objects(channel.get("alternatives")) if isinstance(channel, dict) else []
        if start_ms is None or duration_ms is None or not alternatives:
            return (Unreadable(),)
        best = alternatives[0]
        said = _said(best, start_ms, start_ms + duration_ms)
        if body.get("is_final") is not True:
            return (said,) if said.text else ()
        ends = body.get("speech_final") is True or body.get("from_finalize") is True
        events: list[VendorEvent] = []
        if said.text or (ends and self._piece_open):
            events.append(
                Said(
                    said.text,
                    True,
                    said.start_ms,
                    said.end_ms,
                    said.confidence,
                    said.words,
                    said.language,
                    utterance_end=ends,
                )
            )
            self._piece_open = not ends
        return (*events, Settled(start_ms + duration_ms))

    def _utterance_end(self, body: dict[str, Any]) -> Sequence[VendorEvent]:
        if not self._piece_open:
            return ()
        self._piece_open = False
        at_ms = reading.seconds(body.get("last_word_end")) or 0
        return (Said("", True, at_ms, at_ms),)


def dial(config: SpeechConfig, path: str, query: list[tuple[str, str]]) -> Dial:
    """Return where a session of Deepgram is; the key is a header."""
    url = str(config.options.get("url") or URL).rstrip("/")
    key = str(config.options.get("api_key") or "")
    return Dial(f"{url}{path}?{urlencode(query)}", (("Authorization", f"Token {key}"),))


def keyterms(config: SpeechConfig) -> list[tuple[str, str]]:
    """Return the expected words as Deepgram's newer models take them: without weights."""
    terms, total = [], 0
    for term in hints.phrases(config, count_max=KEYTERMS_MAX, characters_max=KEYTERM_CHARACTERS_MAX):
        total += len(term)
        if total <= KEYTERM_TOTAL_CHARACTERS_MAX:
            terms.append(("keyterm", term))
    return terms


def closed(code: int, reason: str) -> Trouble:
    """Return what a close code means: 1008 that our audio is no audio, the rest that it may work again."""
    del reason
    if code == 1008:
        return verdicts.bad_request(NAME)
    return Trouble(f"deepgram closed the connection with {code}", retry=True)


def words_of(value: Any) -> tuple[Word, ...]:
    """Return the words of a result that have a text and times."""
    words = []
    for item in reading.objects(value):
        text = reading.text(item.get("punctuated_word")) or reading.text(item.get("word"))
        start_ms, end_ms = reading.seconds(item.get("start")), reading.seconds(item.get("end"))
        if text and start_ms is not None and end_ms is not None:
            speaker = reading.whole(item.get("speaker"))
            words.append(
                Word(
                    text,
                    start_ms,
                    max(start_ms, end_ms),
                    reading.share(item.get("confidence")),
                    None if speaker is None else str(speaker),
                )
            )
    return tuple(words)


def _said(best: dict[str, Any], start_ms: int, end_ms: int) -> Said:
    words = words_of(best.get("words"))
    languages = best.get("languages")
    return Said(
        reading.text(best.get("transcript")),
        False,
        words[0].start_ms if words else start_ms,
        max((word.end_ms for word in words), default=end_ms),
        reading.share(best.get("confidence")),
        words,
        reading.language(languages[0]) if isinstance(languages, list) and languages else None,
        utterance_end=False,
    )


def _query(config: SpeechConfig, model: str) -> list[tuple[str, str]]:
    asked = config.parameters
    for name in _FLUX_ONLY:
        if name in asked and asked[name] != DEFAULTS.get(name):
            raise ParameterUnsupported(name, f"only Deepgram's flux models know `{name}`, not {model}")
    utterance_end_ms = int(asked.get("utterance_end_ms", DEFAULTS["utterance_end_ms"]))
    endpoint_ms = config.endpoint_ms
    if asked.get("enable_endpoint_detection"):
        endpoint_ms = int(asked.get("max_endpoint_delay_ms", endpoint_ms))
    query = [
        ("model", model),
        ("language", _language(config, model)),
        ("encoding", "linear16"),
        ("sample_rate", str(config.sample_rate_hz)),
        ("channels", "1"),
        # Without interim results the service tells no UtteranceEnd, and the session no progress.
        ("interim_results", "true"),
        ("vad_events", "true"),
        ("endpointing", str(endpoint_ms)),
        ("smart_format", _flag(asked, "smart_format", default=True)),
    ]
    if utterance_end_ms:
        query.append(("utterance_end_ms", str(utterance_end_ms)))
    if asked.get("numerals"):
        query.append(("numerals", "true"))
    if asked.get("profanity_filter"):
        query.append(("profanity_filter", "true"))
    if asked.get("enable_speaker_diarization"):
        query.append(("diarize_model", "latest"))
    return [*query, *(keyterms(config) if model.startswith("nova-3") else _keywords(config))]


def _keywords(config: SpeechConfig) -> list[tuple[str, str]]:
    """Return the expected words as nova-2 takes them: single words, with weights."""
    wanted = sorted(hints.boosts(config).items(), key=lambda item: -item[1])
    single = [(word, boost) for word, boost in wanted if word and not set(word) & set(" :\t\n")]
    return [
        ("keywords", f"{word}:{boost:g}")
        for word, boost in single[:KEYTERMS_MAX]
        if len(word) <= KEYTERM_CHARACTERS_MAX
    ]


def _language(config: SpeechConfig, model: str) -> str:
    primary = hints.primary_language(config)
    if primary is None:
        # Live audio knows no language detection; this finds out word by word.
        return "multi"
    known = _NOVA_3 if model.startswith("nova-3") else _NOVA_2
    asked = config.language.replace("_", "-").lower()
    code = asked if asked in known else primary
    if code not in known:
        raise LanguageUnsupported(f"Deepgram's model {model} does not know that language")
    head, _, region = code.partition("-")
    return f"{head}-{_CASED.get(region, region.upper())}" if region else head


def _flag(asked: Mapping[str, Any], name: str, *, default: bool) -> str:
    return "true" if asked.get(name, default) else "false"


def _message(kind: str) -> str:
    return json.dumps({"type": kind})
