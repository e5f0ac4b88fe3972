"""Azure Speech: its WebSocket protocol (USP), one turn after another. Pure.

Every message has headers like an HTTP message. Text messages carry JSON; audio messages are binary
and begin with the length of their headers. A recognition is a turn: we describe it in
`speech.context`, send a RIFF header and audio, and the service ends it when it likes. Times are
100 ns ticks since the turn's audio began, so a new turn starts with the audio that the old one left
unfinished.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from offhook.base.clock import SystemClock
from offhook.base.ids import RandomBytes, system_random
from offhook.base.limits import SPEECH_REPLAY_MS, VENDOR_TIME_MS_MAX
from offhook.edge.speech.protocol import EngineInfo, SpeechConfig, SpeechUnavailable, Word
from offhook.edge.speech.vendors import reading, verdicts
from offhook.edge.speech.vendors.azure_request import PARAMETERS, AzureRequest
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
from offhook.edge.speech.vendors.padding import Padding
from offhook.edge.speech.vendors.websocket import connect_websocket

INFO = EngineInfo(
    name="azure",
    languages=(),
    sample_rates_hz=(8000, 16000),
    needs_network=True,
    word_times="measured",
    parameters=PARAMETERS,
)

_CLOCK = SystemClock()
_TICKS_PER_MS = 10_000
_AUDIO_BYTES_MAX = 8_000
_NO_WORDS = ("NoMatch", "InitialSilenceTimeout", "BabbleTimeout", "EndOfDictation")
_FLUSH_SLACK_MS = 300


class AzureEngine(VendorEngine):
    """Azure Speech, with one key, or with several that requests name by `api_key_ref`."""

    def __init__(self, transport: Transport = connect_websocket) -> None:
        super().__init__(INFO, AzureDialect, transport=transport, options_needed={})

    async def ensure_available(self, options: Mapping[str, Any]) -> None:
        """Raise SpeechUnavailable when there is no key at all. Azure is not asked."""
        if not options.get("api_key") and not options.get("keys"):
            raise SpeechUnavailable("the azure engine lacks its key: set azure.api_key")
        await super().ensure_available(options)


class AzureDialect:
    """One connection to Azure Speech.

    Args:
        config: what is asked for; its options hold the keys themselves.

    Raises:
        What `AzureRequest.of` raises.
    """

    chunk_ms: ClassVar[int] = 100
    keep_alive_s: ClassVar[float | None] = 30.0
    session_max_s: ClassVar[float | None] = 600.0
    realtime: ClassVar[bool] = True
    greets: ClassVar[bool] = False

    def __init__(
        self,
        config: SpeechConfig,
        *,
        random: RandomBytes = system_random,
        unix_time: Callable[[], float] = _CLOCK.unix_time,
    ) -> None:
        self._rate_hz = config.sample_rate_hz
        self._request = AzureRequest.of(config)
        self._random = random
        self._unix_time = unix_time
        self._request_id = ""
        self._answered = False
        self._service_tag = ""
        self._in_turn = False
        self._finishing = False
        self._base_ms = 0
        """Where the turn's audio begins in that of the connection."""
        self._kept = bytearray()
        self._kept_from_ms = 0
        self._padding = Padding(self._rate_hz)

    @property
    def answers(self) -> bool:
        """True until the first turn has begun: of music and noise Azure may say nothing."""
        return not self._answered

    def dial(self) -> Dial:
        """Return where to connect."""
        who = ("Ocp-Apim-Subscription-Key", self._request.key)
        return Dial(
            url=self._request.url,
            headers=(who, ("X-ConnectionId", self._random(16).hex())),
            subprotocols=("USP",),
        )

    def opening(self) -> Sequence[Wire]:
        """Say who we are and begin the first turn."""
        about = {"context": {"system": {"name": "Offhook", "version": "1", "build": "", "lang": "Python"}}}
        config = self._message("speech.config", json.dumps(about), request=False)
        return [config, *self._new_turn()]

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        """Return the messages of s16le audio."""
        opening = [] if self._in_turn else self._new_turn()
        self._keep(pcm)
        self._padding.heard(pcm)
        return [*opening, *self._audio(pcm)]

    def keep_alive(self) -> Sequence[Wire]:
        """Say a little silence."""
        return self._silence(self.chunk_ms)

    def flush(self) -> Sequence[Wire]:
        """Say as much silence as ends an utterance."""
        return self._silence(self._request.endpoint_ms + _FLUSH_SLACK_MS)

    def finish(self) -> Sequence[Wire]:
        """Say that no audio follows, which an empty audio message does."""
        self._finishing = True
        opening = [] if self._in_turn else self._new_turn()
        return [*opening, self._audio_message(b"")]

    def receive(self, message: Wire) -> Sequence[VendorEvent]:
        """Return what a message of the service means."""
        path, request_id, body = _parsed(message)
        if path and request_id != self._request_id:  # the last words of a turn that is over
            return ()
        match path:
            case "turn.start":
                self._service_tag = _service_tag(body)
                self._answered = True
                return [Ready()]
            case "speech.startdetected":
                return [Speaking(self._times(body)[0])]
            case "speech.hypothesis" | "speech.fragment":
                return self._hypothesis(body)
            case "speech.phrase":
                return self._phrase(body)
            case "turn.end":
                self._in_turn = False
                return [Done()] if self._finishing else ()
            case "":
                return [Unreadable()]
            case _:
                return ()

    def refused(self, status: int, body: bytes) -> Trouble:
        """Return what the status of the handshake means."""
        del body
        return verdicts.refused("azure", status)

    def closed(self, code: int, reason: str) -> Trouble:
        """Return what a close code means; these say that the same again will not do better."""
        del reason
        final = code in (1002, 1003, 1007, 4000)
        return Trouble(f"azure closed the connection with code {code}", retry=not final)

    def _hypothesis(self, body: dict[str, Any]) -> Sequence[VendorEvent]:
        text = reading.text(body.get("Text"))
        if not text:
            return ()
        start_ms, end_ms = self._times(body)
        said = Said(text, False, start_ms, end_ms, language=_language(body), utterance_end=False)
        return [said]

    def _phrase(self, body: dict[str, Any]) -> Sequence[VendorEvent]:
        status = body.get("RecognitionStatus")
        start_ms, end_ms = self._times(body)
        if status == "Success":
            self._settle(end_ms)
            best = _best(body)
            shown = reading.text(best.get("Display")) or reading.text(body.get("DisplayText"))
            text = shown if self._request.formatted else reading.text(best.get("Lexical"))
            return [
                Said(
                    text,
                    final=True,
                    start_ms=start_ms,
                    end_ms=end_ms,
                    confidence=reading.share(best.get("Confidence")) if text else None,
                    words=self._words(best),
                    language=_language(body),
                )
            ]
        if status in _NO_WORDS:
            self._settle(end_ms)
            ended = Said("", final=True, start_ms=start_ms, end_ms=end_ms)
            return [ended, Settled(end_ms)]
        if status == "TooManyRequests":
            return [verdicts.too_many("azure")]
        if status == "Forbidden":
            return [verdicts.bad_key("azure")]
        if status == "BadRequest":
            return [verdicts.bad_request("azure")]
        return [Trouble("azure failed to recognise", retry=True)]

    def _words(self, best: dict[str, Any]) -> tuple[Word, ...]:
        spoken = reading.objects(best.get("Words"))
        shown = reading.objects(best.get("DisplayWords")) if self._request.formatted else spoken
        shown = shown or spoken
        measured = spoken if len(spoken) == len(shown) else [{}] * len(shown)
        words = []
        for item, measure in zip(shown, measured, strict=True):
            text = reading.text(item.get("DisplayText")) or reading.text(item.get("Word"))
            if text:
                start_ms, end_ms = self._times(item)
                words.append(
                    Word(text, start_ms, end_ms, confidence=reading.share(measure.get("Confidence")))
                )
        return tuple(words)

    def _times(self, item: dict[str, Any]) -> tuple[int, int]:
        start_ms = _ms(item.get("Offset"))
        end_ms = start_ms + _ms(item.get("Duration"))
        to_audio = self._padding.audio_ms
        return self._base_ms + to_audio(start_ms), self._base_ms + to_audio(end_ms)

    def _keep(self, pcm: bytes) -> None:
        self._kept += pcm
        over = len(self._kept) - SPEECH_REPLAY_MS * self._bytes_per_ms
        if over > 0:
            self._forget(over)

    def _settle(self, until_ms: int) -> None:
        self._forget((until_ms - self._kept_from_ms) * self._bytes_per_ms)

    def _forget(self, count: int) -> None:
        """Drop whole milliseconds of kept audio from the front."""
        ms = min(count, len(self._kept)) // self._bytes_per_ms
        if ms > 0:
            del self._kept[: ms * self._bytes_per_ms]
            self._kept_from_ms += ms

    @property
    def _bytes_per_ms(self) -> int:
        return self._rate_hz * 2 // 1000

    def _new_turn(self) -> list[Wire]:
        """Begin a turn with what the last one left unfinished."""
        self._request_id = self._random(16).hex()
        self._in_turn = True
        self._base_ms = self._kept_from_ms
        self._padding = Padding(self._rate_hz)
        self._padding.heard(bytes(self._kept))
        context = self._message(
            "speech.context", json.dumps({**self._request.context, **self._continuation()})
        )
        header = self._audio_message(_riff_header(self._rate_hz), first=True)
        return [context, header, *self._audio(bytes(self._kept))]

    def _continuation(self) -> dict[str, Any]:
        """Return what a turn that is not the first says of the one before."""
        if not self._service_tag:
            return {}
        offset = str(self._base_ms * _TICKS_PER_MS)
        tag, self._service_tag = self._service_tag, ""
        return {"continuation": {"previousServiceTag": tag, "audio": {"streams": {"1": {"offset": offset}}}}}

    def _silence(self, duration_ms: int) -> list[Wire]:
        return self._audio(self._padding.silence(duration_ms)) if self._in_turn else []

    def _audio(self, pcm: bytes) -> list[Wire]:
        return [
            self._audio_message(pcm[start : start + _AUDIO_BYTES_MAX])
            for start in range(0, len(pcm), _AUDIO_BYTES_MAX)
        ]

    def _message(self, path: str, body: str, *, request: bool = True) -> str:
        return self._headers(path, "application/json", request) + "\r\n" + body

    def _audio_message(self, pcm: bytes, *, first: bool = False) -> bytes:
        headers = self._headers("audio", "audio/x-wav" if first else "", True) + "X-StreamId:1\r\n"
        return len(headers).to_bytes(2) + headers.encode("ascii") + pcm

    def _headers(self, path: str, content_type: str, request: bool) -> str:
        now = datetime.fromtimestamp(self._unix_time(), UTC).isoformat(timespec="milliseconds")
        lines = [f"X-Timestamp:{now.replace('+00:00', 'Z')}", f"Path:{path}"]
        lines += [f"Content-Type:{content_type}"] if content_type else []
        lines += [f"X-RequestId:{self._request_id}"] if request else []
        return "".join(f"{line}\r\n" for line in lines)


def _riff_header(rate_hz: int) -> bytes:
    """Return the header of an endless WAV of s16le mono: its sizes are 0."""
    form = (16).to_bytes(4, "little") + (1).to_bytes(2, "little") + (1).to_bytes(2, "little")
    form += rate_hz.to_bytes(4, "little") + (rate_hz * 2).to_bytes(4, "little")
    form += (2).to_bytes(2, "little") + (16).to_bytes(2, "little")
    return b"RIFF" + bytes(4) + b"WAVEfmt " + form + b"data" + bytes(4)


def _parsed(message: Wire) -> tuple[str, str, dict[str, Any]]:
    """Return path, request and JSON body; an empty path for what cannot be read."""
    if not isinstance(message, str):
        return "", "", {}
    head, _, text = message.partition("\r\n\r\n")
    headers = {}
    for line in head.split("\r\n")[:32]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = reading.json_object(text) if text.strip() else {}
    if body is None:
        return "", "", {}
    return headers.get("path", "").lower(), headers.get("x-requestid", "").lower(), body


def _service_tag(body: dict[str, Any]) -> str:
    context = body.get("context")
    tag = context.get("serviceTag") if isinstance(context, dict) else None
    return tag if isinstance(tag, str) and len(tag) <= 256 else ""


def _best(body: dict[str, Any]) -> dict[str, Any]:
    candidates = reading.objects(body.get("NBest"))
    return candidates[0] if candidates else {}


def _language(body: dict[str, Any]) -> str | None:
    primary = body.get("PrimaryLanguage")
    return reading.language(primary.get("Language")) if isinstance(primary, dict) else None


def _ms(ticks: Any) -> int:
    return min(max(reading.whole(ticks) or 0, 0) // _TICKS_PER_MS, VENDOR_TIME_MS_MAX)


ENGINE = AzureEngine()
