"""Google Speech-to-Text v2: `google.cloud.speech.v2.Speech.StreamingRecognize`. Pure.

A connection is one stream: a request with the configuration, then requests with audio. Messages
are Google's own, from the extra `offhook[google]`, which must be there when a dialect is made.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar
from urllib.parse import urlencode

from offhook.base import limits
from offhook.edge.speech.protocol import (
    EngineInfo,
    LanguageUnsupported,
    ParameterUnsupported,
    SpeechConfig,
    SpeechUnavailable,
    Word,
)
from offhook.edge.speech.vendors import hints, locales, verdicts
from offhook.edge.speech.vendors.dialect import (
    Dial,
    Done,
    Said,
    Speaking,
    Trouble,
    Unreadable,
    VendorEvent,
    Wire,
)
from offhook.edge.speech.vendors.padding import Padding

PARAMETERS = hints.PHRASES | {
    "use_enhanced",
    "profanity_filter",
    "enable_speaker_diarization",
    "min_speaker_count",
    "max_speaker_count",
    "smart_format",
}
INFO = EngineInfo(
    name="google",
    languages=(),
    sample_rates_hz=(8000, 16000),
    needs_network=True,
    word_times="measured",
    parameters=PARAMETERS,
)
MODELS = {
    "latest_long": "long",
    "latest_short": "long",
    "command_and_search": "long",
    "phone_call": "telephony",
    "video": "long",
    "default": "long",
    "medical_conversation": "medical_conversation",
    "medical_dictation": "medical_dictation",
}
"""The API's models (contract 2.2) are those of v1; these replace them in v2.

`short` is none of them: it ends the stream after one utterance.
"""

STATUS = 4000
"""Added to the gRPC status of a stream that failed, it is the close code that `closed` takes."""
_INVALID_ARGUMENT, _NOT_FOUND, _PERMISSION_DENIED, _RESOURCE_EXHAUSTED = 3, 5, 7, 8
_FAILED_PRECONDITION, _UNIMPLEMENTED, _UNAUTHENTICATED = 9, 12, 16
_KEY_REFUSED = (_PERMISSION_DENIED, _UNAUTHENTICATED)
_NEVER = (_INVALID_ARGUMENT, _NOT_FOUND, _FAILED_PRECONDITION, _UNIMPLEMENTED)

_AUDIO_BYTES_MAX = 24_000
"""Google refuses requests with more than 25 KB of audio."""
_ACTIVITY_BEGIN = 2
_FLUSH_MS = 1_500
_BOOST_MAX = 20.0


@dataclass(frozen=True, slots=True)
class GoogleDial(Dial):
    """Where a stream goes, and the settings that say who we are."""

    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Mark(Enum):
    """Messages that are not Google's: the two ends of a stream."""

    END_OF_AUDIO = "end of audio"
    """Ours: nothing follows."""
    END_OF_STREAM = "end of stream"
    """The service's: it has told everything."""


class GoogleDialect:
    """One stream to Google.

    Args:
        config: what is asked for; its options are the settings of `[google]`.

    Raises:
        LanguageUnsupported: Google does not know the language.
        ParameterUnsupported: a field asks for what Google cannot do.
        SpeechUnavailable: no project is set.
    """

    chunk_ms: ClassVar[int] = 100
    keep_alive_s: ClassVar[float | None] = 5.0
    session_max_s: ClassVar[float | None] = 300.0
    realtime: ClassVar[bool] = True
    greets: ClassVar[bool] = False
    answers: ClassVar[bool] = False

    def __init__(self, config: SpeechConfig) -> None:
        self._options = config.options
        self._recognizer = _recognizer(config.options)
        self._config = streaming_config(config)
        self._padding = Padding(config.sample_rate_hz)
        self._spoken_from_ms = 0

    def dial(self) -> Dial:
        """Return where to connect, and with which settings; who we are is for the transport to say."""
        # Google routes by this header and not by the request (https://google.aip.dev/client-libraries/4222).
        routing = urlencode({"recognizer": self._recognizer})
        return GoogleDial(
            url=_url(self._options), headers=(("x-goog-request-params", routing),), options=self._options
        )

    def opening(self) -> Sequence[Wire]:
        """Send the configuration."""
        from google.cloud.speech_v2.types import cloud_speech

        request = cloud_speech.StreamingRecognizeRequest(
            recognizer=self._recognizer, streaming_config=self._config
        )
        return [cloud_speech.StreamingRecognizeRequest.pb(request)]

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        """Return the requests of s16le audio."""
        self._padding.heard(pcm)
        return _requests(pcm)

    def keep_alive(self) -> Sequence[Wire]:
        """Say a little silence: Google ends a stream that hears nothing for long."""
        return _requests(self._padding.silence(self.chunk_ms))

    def flush(self) -> Sequence[Wire]:
        """Say as much silence as ends an utterance."""
        return _requests(self._padding.silence(_FLUSH_MS))

    def finish(self) -> Sequence[Wire]:
        """Half-close the stream."""
        return [Mark.END_OF_AUDIO]

    def receive(self, message: Wire) -> Sequence[VendorEvent]:
        """Return what a response means."""
        if message is Mark.END_OF_STREAM:
            return [Done()]
        try:
            return self._response(message)
        except (AttributeError, TypeError, ValueError):
            return [Unreadable()]

    def refused(self, status: int, body: bytes) -> Trouble:
        """Return what it means that there is no stream: no credentials, or nobody there."""
        del body
        return verdicts.refused("google", status)

    def closed(self, code: int, reason: str) -> Trouble:
        """Return what a gRPC status means."""
        del reason
        status = code - STATUS
        if status in _KEY_REFUSED:
            return verdicts.bad_key("google")
        if status in _NEVER:
            return Trouble(f"google refuses the request with status {status}", retry=False)
        if status == _RESOURCE_EXHAUSTED:
            return Trouble("google's quota is used up", retry=True, retry_after_s=verdicts.BUSY_S)
        return Trouble(f"google ended the stream with status {status}", retry=True)

    def _response(self, response: Any) -> list[VendorEvent]:
        events: list[VendorEvent] = []
        if response.speech_event_type == _ACTIVITY_BEGIN:
            self._spoken_from_ms = max(self._spoken_from_ms, self._ms(response.speech_event_offset))
            events.append(Speaking(self._spoken_from_ms))
        tentative = []
        for result in response.results:
            if result.is_final:
                events.append(self._final(result))
            else:
                tentative.append(result)
        if tentative:
            events += self._partial(tentative)
        return events

    def _final(self, result: Any) -> Said:
        best = result.alternatives[0] if result.alternatives else None
        words = self._words(best.words) if best else ()
        end_ms = max(self._ms(result.result_end_offset), self._spoken_from_ms)
        start_ms = min(words[0].start_ms, end_ms) if words else self._spoken_from_ms
        self._spoken_from_ms = end_ms
        return Said(
            text=best.transcript.strip() if best else "",
            final=True,
            start_ms=start_ms,
            end_ms=end_ms,
            confidence=_share(best.confidence) if best else None,
            words=words,
            language=result.language_code or None,
        )

    def _partial(self, results: Sequence[Any]) -> list[VendorEvent]:
        """Return one partial: a stable beginning and what may still change come as results of their own."""
        texts = [result.alternatives[0].transcript for result in results if result.alternatives]
        text = "".join(texts).strip()
        end_ms = max(self._spoken_from_ms, *(self._ms(result.result_end_offset) for result in results))
        if not text:
            return []
        language = results[0].language_code or None
        said = Said(text, False, self._spoken_from_ms, end_ms, language=language, utterance_end=False)
        return [said]

    def _words(self, items: Any) -> tuple[Word, ...]:
        return tuple(
            Word(
                text=item.word,
                start_ms=self._ms(item.start_offset),
                end_ms=self._ms(item.end_offset),
                confidence=_share(item.confidence),
                speaker=item.speaker_label or None,
            )
            for item in items
        )

    def _ms(self, duration: Any) -> int:
        return self._padding.audio_ms(duration.seconds * 1000 + duration.nanos // 1_000_000)


def streaming_config(config: SpeechConfig) -> Any:
    """Return Google's `StreamingRecognitionConfig` for a request.

    Raises:
        LanguageUnsupported: Google does not know the language.
        ParameterUnsupported: a field asks for what Google cannot do.
    """
    from google.cloud.speech_v2.types import cloud_speech as speech

    model = MODELS.get(config.model or "", str(config.options.get("model") or "long"))
    decoding = speech.ExplicitDecodingConfig(
        encoding=speech.ExplicitDecodingConfig.AudioEncoding.LINEAR16,
        sample_rate_hertz=config.sample_rate_hz,
        audio_channel_count=1,
    )
    parameters = config.parameters
    phrases = _phrases(config, speech)
    adaptation = None
    if phrases:
        inline = speech.SpeechAdaptation.AdaptationPhraseSet(
            inline_phrase_set=speech.PhraseSet(phrases=phrases)
        )
        adaptation = speech.SpeechAdaptation(phrase_sets=[inline])
    return speech.StreamingRecognitionConfig(
        config=speech.RecognitionConfig(
            explicit_decoding_config=decoding,
            model=model,
            language_codes=_languages(config, model),
            features=speech.RecognitionFeatures(
                profanity_filter=bool(parameters.get("profanity_filter", False)),
                enable_word_time_offsets=True,
                enable_word_confidence=True,
                enable_automatic_punctuation=bool(parameters.get("smart_format", True)),
                diarization_config=_diarization(parameters, speech),
            ),
            adaptation=adaptation,
        ),
        streaming_features=speech.StreamingRecognitionFeatures(
            interim_results=True, enable_voice_activity_events=True
        ),
    )


def _url(options: Mapping[str, Any]) -> str:
    location = _location(options)
    place = "" if location == "global" else f"{location}-"
    return str(options.get("endpoint") or f"https://{place}speech.googleapis.com:443")


def _location(options: Mapping[str, Any]) -> str:
    return str(options.get("location") or "global")


def _recognizer(options: Mapping[str, Any]) -> str:
    project = options.get("project")
    if not project:
        raise SpeechUnavailable("the google engine has no project: set google.project")
    return f"projects/{project}/locations/{_location(options)}/recognizers/_"


def _languages(config: SpeechConfig, model: str) -> list[str]:
    if config.language.lower() not in locales.AUTO:
        return [locales.locale(config.language or "en", locales.GOOGLE, "google")]
    if model.startswith("chirp"):
        return ["auto"]
    candidates = config.options.get("auto_languages") or ()
    if not candidates:
        raise LanguageUnsupported("the google engine needs a language: set google.auto_languages")
    return [locales.locale(code, locales.GOOGLE, "google") for code in candidates]


def _phrases(config: SpeechConfig, speech: Any) -> list[Any]:
    """Return the expected words, as many as Google takes, with the boosts that were asked for."""
    boosts: dict[str, float] = dict(config.parameters.get("keywords_boosting", {}))
    for context in config.parameters.get("speech_context", ()):
        if context.get("boost") is not None:
            boosts |= dict.fromkeys(context.get("phrases", ()), context["boost"])
    wanted = hints.phrases(
        config, count_max=limits.GOOGLE_PHRASES_MAX, characters_max=limits.GOOGLE_PHRASE_CHARACTERS_MAX
    )
    lengths = itertools.accumulate(map(len, wanted))
    fitting = sum(length <= limits.GOOGLE_PHRASES_CHARACTERS_MAX for length in lengths)
    return [
        speech.PhraseSet.Phrase(value=phrase, boost=min(max(boosts.get(phrase, 0.0), 0.0), _BOOST_MAX))
        for phrase in wanted[:fitting]
    ]


def _diarization(parameters: Mapping[str, Any], speech: Any) -> Any:
    if not parameters.get("enable_speaker_diarization"):
        return None
    least, most = parameters.get("min_speaker_count", 2), parameters.get("max_speaker_count", 6)
    if least > most:
        raise ParameterUnsupported("min_speaker_count", "it must not be above max_speaker_count")
    return speech.SpeakerDiarizationConfig(min_speaker_count=least, max_speaker_count=most)


def _requests(pcm: bytes) -> list[Wire]:
    from google.cloud.speech_v2.types import cloud_speech

    request = cloud_speech.StreamingRecognizeRequest.pb()
    return [
        request(audio=pcm[start : start + _AUDIO_BYTES_MAX]) for start in range(0, len(pcm), _AUDIO_BYTES_MAX)
    ]


def _share(value: float) -> float | None:
    """Return a confidence; Google's 0.0 means that there is none."""
    return float(value) if 0 < value <= 1 else None
