"""OpenAI's realtime transcription: JSON messages both ways, mu-law audio in base64. Pure.

Audio is appended to a buffer, which becomes an item, an utterance, when it is committed: by the
service where the model lets it look for pauses (server VAD), else by us. Words come as deltas, and
whole when the item is complete. The service tells no times of words.
"""

import base64
import json
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from offhook.base.g711 import mulaw_encode
from offhook.base.limits import VENDOR_TEXT_CHARACTERS_MAX
from offhook.edge.speech.parameters import ENDPOINT, endpoint_ms
from offhook.edge.speech.protocol import EngineInfo, SpeechConfig
from offhook.edge.speech.vendors import hints, reading, verdicts
from offhook.edge.speech.vendors.dialect import (
    Dial,
    Done,
    Ready,
    Said,
    Speaking,
    Transport,
    Trouble,
    Unreadable,
    VendorEvent,
    Wire,
)
from offhook.edge.speech.vendors.endpointer import Endpointer, Span
from offhook.edge.speech.vendors.engine import VendorEngine
from offhook.edge.speech.vendors.openai_items import Item, Items
from offhook.edge.speech.vendors.openai_models import model_of, session_for, traits_of
from offhook.edge.speech.vendors.websocket import connect_websocket

PARAMETERS: Final = hints.PHRASES | ENDPOINT
"""Fields of contract 2.2 that are honoured."""
RATE_HZ: Final = 8000
INFO: Final = EngineInfo(
    name="openai",
    languages=(),
    sample_rates_hz=(RATE_HZ,),
    confidence=False,
    needs_network=True,
    parameters=PARAMETERS,
)
_NAME: Final = INFO.name
_URL: Final = "wss://api.openai.com/v1"
_BYTES_PER_MS: Final = RATE_HZ * 2 // 1000
_COMMIT_MS_MIN: Final = 100
"""The service refuses to commit less."""
_NOTHING_MS: Final = 10_000
"""So much audio without speech is not kept for the next utterance."""
_PREROLL_BYTES: Final = 300 * RATE_HZ // 1000
"""Of what is cleared, the end comes again: speech may begin softly."""
_DELTA_WAIT_MS: Final = 1_000
"""How long after the last delta words that no loudness announced are committed."""
_ID_CHARACTERS_MAX: Final = 128
_COMMITS_WAITING_MAX: Final = 32


class OpenAiDialect:
    """One connection to OpenAI, for a model that leaves it to us to find the ends of utterances."""

    chunk_ms: ClassVar[int] = 60
    keep_alive_s: ClassVar[float | None] = None
    session_max_s: ClassVar[float | None] = 30 * 60.0
    realtime: ClassVar[bool] = False
    greets: ClassVar[bool] = True
    answers: ClassVar[bool] = True

    def __init__(self, config: SpeechConfig) -> None:
        assert config.sample_rate_hz == RATE_HZ, "the engine says that it takes no other rate"
        self._key = str(config.options.get("api_key") or "")
        self._url = f"{str(config.options.get('url') or _URL).rstrip('/')}/realtime?intent=transcription"
        self._model = model_of(config)
        self._traits = traits_of(self._model)
        self._endpoint_ms = endpoint_ms(config.parameters, config.endpoint_ms)
        self._session = session_for(config, self._model, self._endpoint_ms)
        self._endpointer = Endpointer(
            RATE_HZ, endpoint_ms=self._endpoint_ms, max_ms=int(config.max_segment_s * 1000)
        )
        self._items = Items()
        self._commits: deque[tuple[str, Span, int]] = deque()
        """Commits of ours without an answer: event id, where the words are, what they settle."""
        self._commit_count = 0
        self._sent_bytes = 0
        self._recent = b""
        self._committed_ms = 0
        self._filling_ms = 0
        """Silence that was added so that a commit is long enough; the service's clock counts it."""
        self._delta_ms: int | None = None
        """When words came last for audio that is not committed yet."""
        self._clears = 0
        """Clearings of the buffer without an answer."""
        self._ready = self._speaking = self._finishing = False

    def dial(self) -> Dial:
        """Return where to connect; a model in the address would make it a conversation."""
        return Dial(self._url, (("Authorization", f"Bearer {self._key}"),))

    def opening(self) -> Sequence[Wire]:
        """Return what describes the session."""
        return (json.dumps({"type": "session.update", "session": self._session}),)

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        """Return the audio as the buffer takes it, and the end of an utterance where we find one."""
        self._sent_bytes += len(pcm)
        mulaw = mulaw_encode(pcm)
        self._recent = (self._recent + mulaw)[-_PREROLL_BYTES:]
        messages = [_append(mulaw)]
        over = self._endpointer.push(pcm)
        if self._traits.finds_pauses:
            if over:
                self._endpointer.end()
        elif (over and self._holds_speech()) or self._has_stale_words():
            messages += self._commit()
        elif over or self._has_long_nothing():
            # A tone, noise or silence: nothing to look for words in; the answer says that the service lives.
            self._endpointer.end()
            messages += [*self._clear(), _append(self._recent)]
        return messages

    def keep_alive(self) -> Sequence[Wire]:
        """Return nothing: a session ends at a fixed age, not for silence."""
        return ()

    def flush(self) -> Sequence[Wire]:
        """Return what ends the utterance now; nothing where nobody spoke."""
        return self._commit() if self._holds_speech() else ()

    def finish(self) -> Sequence[Wire]:
        """Return what asks for the last words; the answers to it are how we know that there are no more."""
        self._finishing = True
        return self._commit() if self._holds_speech() else self._clear()

    def receive(self, message: Wire) -> Sequence[VendorEvent]:
        """Return what a message means."""
        body = reading.json_object(message)
        if body is None:
            return (Unreadable(),)
        events = [*self._understand(body), *self._items.due()]
        if self._finishing and not (self._clears or self._commits or self._items.waiting):
            events.append(Done())
        return events

    def refused(self, status: int, body: bytes) -> Trouble:
        """Return what the status of the handshake means."""
        del body
        return verdicts.refused(_NAME, status)

    def closed(self, code: int, reason: str) -> Trouble:
        """Return what a close code means; 3000 and 1008 are for keys and accounts."""
        if "insufficient_quota" in reason:
            return verdicts.no_funds(_NAME)
        if code in (1008, 3000) or "invalid_api_key" in reason:
            return verdicts.bad_key(_NAME)
        return Trouble(f"openai closed the connection with code {code}", retry=True)

    def _understand(self, body: dict[str, Any]) -> Sequence[VendorEvent]:
        kind = body.get("type")
        match kind:
            case "session.updated":
                events = () if self._ready else (Ready(),)
                self._ready = True
                return events
            case "input_audio_buffer.cleared":
                self._clears = max(0, self._clears - 1)
                return ()
            case "error":
                return self._error(body.get("error"))
            case str() if kind.startswith(
                ("input_audio_buffer.", "conversation.item.input_audio_transcription.")
            ):
                item_id = body.get("item_id")
                if not isinstance(item_id, str) or not 0 < len(item_id) <= _ID_CHARACTERS_MAX:
                    return (Unreadable(),)
                item = self._items.get(item_id)
                return () if item is None else self._item(kind.rpartition(".")[2], item_id, item, body)
            case str():
                return ()
            case _:
                return (Unreadable(),)

    def _item(self, kind: str, item_id: str, item: Item, body: dict[str, Any]) -> Sequence[VendorEvent]:
        match kind:
            case "speech_started":
                self._speaking = True
                item.start_ms = self._our_ms(body.get("audio_start_ms"))
                return (Speaking(item.start_ms),)
            case "speech_stopped":
                self._speaking = False
                # The silence by which the service knew is counted in.
                end_ms = self._our_ms(body.get("audio_end_ms")) - self._endpoint_ms
                item.end_ms = max(item.start_ms or 0, end_ms)
                return ()
            case "committed":
                self._committed(item_id, item)
                return ()
            case "delta":
                return self._delta(item_id, item, body)
            case "completed":
                return self._completed(item_id, item, body)
            case "failed":
                return (self._failed(body.get("error")),)
            case _:
                return ()

    def _committed(self, item_id: str, item: Item) -> None:
        if item.end_ms is None and self._commits:
            _, span, settles_ms = self._commits.popleft()
            self._speaking = False
            if item.start_ms is not None:
                item.start_ms = min(item.start_ms, span.start_ms)
        else:
            # Committed by the service, which has said where it ends, or else it ends here.
            settles_ms = self._sent_ms if item.end_ms is None else item.end_ms
            span = Span(min(self._committed_ms, settles_ms), settles_ms)
            self._committed_ms = max(self._committed_ms, settles_ms)
        self._items.commit(item_id, span, settles_ms)

    def _delta(self, item_id: str, item: Item, body: dict[str, Any]) -> Sequence[VendorEvent]:
        delta = body.get("delta")
        if not isinstance(delta, str) or not delta:
            return ()
        item.text += delta[: VENDOR_TEXT_CHARACTERS_MAX - len(item.text)]
        events: list[VendorEvent] = []
        fresh = not self._commits and not self._items.is_committed(item_id)
        if fresh and not self._traits.finds_pauses:
            self._delta_ms = self._sent_ms
        if item.start_ms is None:
            span = self._commits[0][1] if self._commits else self._endpointer.span
            item.start_ms = self._committed_ms if span is None else span.start_ms
            events.append(Speaking(item.start_ms))
        end_ms = max(item.start_ms, self._sent_ms if item.end_ms is None else item.end_ms)
        if self._items.may_tell(item_id):
            said = Said(reading.spoken(item.text), False, item.start_ms, end_ms, utterance_end=False)
            events.append(said)
        return events

    def _completed(self, item_id: str, item: Item, body: dict[str, Any]) -> Sequence[VendorEvent]:
        if not self._items.is_committed(item_id):
            self._committed(item_id, item)
        assert item.start_ms is not None, "committed items have times"
        assert item.end_ms is not None, "committed items have times"
        languages = reading.objects(body.get("languages"))
        item.final = Said(
            reading.spoken(body.get("transcript")),
            True,
            item.start_ms,
            item.end_ms,
            confidence=reading.likelihood(body.get("logprobs")),
            language=reading.language(languages[0].get("code")) if languages else None,
        )
        return ()

    def _failed(self, error: Any) -> Trouble:
        verdict = _verdict(error if isinstance(error, dict) else {})
        return verdict or Trouble("openai failed on an utterance", retry=True)

    def _error(self, error: Any) -> Sequence[VendorEvent]:
        """Most errors leave the session open; one that is not understood is worth another connection."""
        if not isinstance(error, dict):
            return (Unreadable(),)
        refused = next((commit for commit in self._commits if commit[0] == error.get("event_id")), None)
        if refused is not None:
            self._commits.remove(refused)
        if error.get("code") == "input_audio_buffer_commit_empty":
            # Nobody spoke, or the service was quicker with its own commit.
            if refused is None and self._commits:
                self._commits.pop()
            return ()
        verdict = _verdict(error)
        if verdict is None and not self._ready and error.get("type") == "invalid_request_error":
            verdict = verdicts.bad_request(_NAME)
        return (verdict or Trouble("openai reports an error", retry=True),)

    @property
    def _sent_ms(self) -> int:
        return self._sent_bytes // _BYTES_PER_MS

    def _our_ms(self, value: Any) -> int:
        """Return a time of the service's clock on ours; now, where it makes no sense."""
        at_ms = reading.milliseconds(value)
        return self._sent_ms if at_ms is None else min(max(0, at_ms - self._filling_ms), self._sent_ms)

    def _holds_speech(self) -> bool:
        """Return whether the buffer holds words, as far as anybody can tell."""
        return self._speaking or self._endpointer.span is not None or self._delta_ms is not None

    def _has_stale_words(self) -> bool:
        return (
            self._delta_ms is not None
            and self._endpointer.span is None
            and self._sent_ms - self._delta_ms >= self._endpoint_ms + _DELTA_WAIT_MS
        )

    def _has_long_nothing(self) -> bool:
        return (
            self._sent_ms - self._committed_ms >= _NOTHING_MS
            and self._endpointer.idle
            and not self._holds_speech()
        )

    def _clear(self) -> list[Wire]:
        self._clears += 1
        self._committed_ms = self._sent_ms
        return [json.dumps({"type": "input_audio_buffer.clear"})]

    def _commit(self) -> list[Wire]:
        messages: list[Wire] = []
        filling_ms = _COMMIT_MS_MIN - (self._sent_ms - self._committed_ms)
        if filling_ms > 0:
            self._filling_ms += filling_ms
            messages.append(_append(b"\xff" * (filling_ms * RATE_HZ // 1000)))
        span = self._endpointer.end() or Span(self._committed_ms, self._sent_ms)
        self._commit_count += 1
        event_id = f"commit-{self._commit_count}"
        self._commits.append((event_id, span, self._sent_ms))
        while len(self._commits) > _COMMITS_WAITING_MAX:
            self._commits.popleft()
        self._committed_ms = self._sent_ms
        self._delta_ms = None
        return [*messages, json.dumps({"type": "input_audio_buffer.commit", "event_id": event_id})]


class OpenAiVadDialect(OpenAiDialect):
    """The same for a model that finds pauses itself, and has nothing to say about music."""

    answers: ClassVar[bool] = False


def openai_dialect(config: SpeechConfig) -> OpenAiDialect:
    """Return the dialect that the model of `config` speaks."""
    kind = OpenAiVadDialect if traits_of(model_of(config)).finds_pauses else OpenAiDialect
    return kind(config)


def _append(mulaw: bytes) -> str:
    audio = base64.b64encode(mulaw).decode("ascii")
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


def _verdict(error: dict[str, Any]) -> Trouble | None:
    """Return what an error means where its code says it clearly."""
    kind, code = error.get("type"), error.get("code")
    if code == "session_expired":
        return Trouble("openai ended the session for its age", retry=True)
    if code == "invalid_api_key" or kind in ("authentication_error", "permission_error"):
        return verdicts.bad_key(_NAME)
    if code == "insufficient_quota":
        return verdicts.no_funds(_NAME)
    if code in ("rate_limit_exceeded", "too_many_requests") or kind == "rate_limit_error":
        return verdicts.too_many(_NAME)
    if code in ("model_not_found", "beta_api_shape_disabled"):
        return verdicts.bad_request(_NAME)
    return None


class OpenAiEngine(VendorEngine):
    """Sessions at OpenAI."""

    def __init__(self, transport: Transport = connect_websocket) -> None:
        super().__init__(INFO, openai_dialect, transport=transport)


ENGINE = OpenAiEngine()
