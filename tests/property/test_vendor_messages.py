"""No message of a speech service may raise, and what is made of it always makes sense."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.edge.speech.protocol import SpeechConfig
from offhook.edge.speech.vendors.assemblyai import AssemblyAiDialect
from offhook.edge.speech.vendors.deepgram import make_dialect as deepgram_dialect
from offhook.edge.speech.vendors.dialect import Dialect, Done, Said, Settled, Speaking, VendorEvent
from offhook.edge.speech.vendors.openai_realtime import openai_dialect
from tests.fakes.vendors.talk import say

pytestmark = pytest.mark.property

NUMBERS = st.one_of(
    st.integers(-5, 5_000), st.integers(), st.floats(), st.booleans(), st.just(10**400), st.just("12")
)
ANYTHING = st.recursive(
    st.one_of(st.none(), NUMBERS, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
WORD = st.fixed_dictionaries(
    {},
    optional={
        "text": st.one_of(st.text(max_size=8), ANYTHING),
        "start": NUMBERS,
        "end": NUMBERS,
        "confidence": NUMBERS,
        "speaker": ANYTHING,
    },
)


def shaped(kinds: Sequence[str], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return messages of the right kinds whose fields are right, wrong or not there."""
    optional = {name: st.one_of(good, ANYTHING) for name, good in fields.items()}
    return st.fixed_dictionaries({"type": st.one_of(st.sampled_from(kinds), ANYTHING)}, optional=optional)


ASSEMBLYAI = shaped(
    ["Begin", "SpeechStarted", "Turn", "Turn", "Turn", "Termination", "Error", "Heartbeat"],
    turn_order=st.integers(0, 3),
    turn_is_formatted=st.booleans(),
    end_of_turn=st.booleans(),
    transcript=st.text(max_size=12),
    words=st.lists(WORD, max_size=3),
    timestamp=NUMBERS,
    language_code=st.text(max_size=8),
    error_code=st.sampled_from([3005, 3009, 1008, 4001]),
    error=st.text(max_size=12),
)
_TRANSCRIPTION = "conversation.item.input_audio_transcription."
OPENAI = shaped(
    [
        "session.created",
        "session.updated",
        "error",
        "input_audio_buffer.cleared",
        *(f"input_audio_buffer.{kind}" for kind in ("speech_started", "speech_stopped", "committed")),
        *(f"{_TRANSCRIPTION}{kind}" for kind in ("delta", "delta", "completed", "completed", "failed")),
    ],
    item_id=st.sampled_from(["i1", "i2", "i3"]),
    audio_start_ms=NUMBERS,
    audio_end_ms=NUMBERS,
    delta=st.text(max_size=8),
    transcript=st.text(max_size=12),
    logprobs=st.lists(st.fixed_dictionaries({}, optional={"logprob": NUMBERS}), max_size=3),
    languages=st.lists(st.fixed_dictionaries({}, optional={"code": ANYTHING}), max_size=2),
    error=st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["server_error", "invalid_request_error"]),
            "code": st.sampled_from(
                ["input_audio_buffer_commit_empty", "session_expired", "rate_limit_exceeded"]
            ),
            "event_id": st.sampled_from(["commit-1", "commit-2"]),
        },
    ),
)
_SECONDS = st.one_of(st.floats(0, 600), NUMBERS)
_DEEPGRAM_WORD = st.fixed_dictionaries(
    {},
    optional={
        "word": st.one_of(st.text(max_size=8), ANYTHING),
        "punctuated_word": st.one_of(st.text(max_size=8), ANYTHING),
        "start": _SECONDS,
        "end": _SECONDS,
        "confidence": NUMBERS,
        "speaker": ANYTHING,
    },
)
_ALTERNATIVE = st.fixed_dictionaries(
    {},
    optional={
        "transcript": st.one_of(st.text(max_size=12), ANYTHING),
        "confidence": NUMBERS,
        "words": st.lists(_DEEPGRAM_WORD, max_size=3),
        "languages": st.one_of(st.lists(st.text(max_size=5), max_size=2), ANYTHING),
    },
)
NOVA = shaped(
    ["Results", "Results", "Results", "SpeechStarted", "UtteranceEnd", "Metadata", "Error"],
    start=_SECONDS,
    duration=_SECONDS,
    is_final=st.booleans(),
    speech_final=st.booleans(),
    from_finalize=st.booleans(),
    channel=st.fixed_dictionaries({"alternatives": st.lists(_ALTERNATIVE, max_size=2)}),
    timestamp=_SECONDS,
    last_word_end=_SECONDS,
)
FLUX = shaped(
    ["Connected", "TurnInfo", "TurnInfo", "TurnInfo", "Error", "Warning"],
    event=st.sampled_from(["StartOfTurn", "Update", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"]),
    audio_window_start=_SECONDS,
    audio_window_end=_SECONDS,
    transcript=st.text(max_size=12),
    words=st.lists(_DEEPGRAM_WORD, max_size=3),
    languages=st.lists(st.text(max_size=5), max_size=2),
    code=st.sampled_from(["INTERNAL_SERVER_ERROR", "INVALID_QUERY"]),
)


def assemblyai(model: str) -> Callable[[], Dialect]:
    return lambda: AssemblyAiDialect(SpeechConfig(options={"api_key": "k", "model": model}))


def openai(model: str) -> Callable[[], Dialect]:
    return lambda: openai_dialect(SpeechConfig(options={"api_key": "k", "model": model}))


def deepgram(model: str) -> Callable[[], Dialect]:
    return lambda: deepgram_dialect(SpeechConfig(options={"api_key": "k", "model": model}))


DIALECTS: dict[str, tuple[Callable[[], Dialect], st.SearchStrategy[dict[str, Any]]]] = {
    "assemblyai": (assemblyai("universal-3-5-pro"), ASSEMBLYAI),
    "assemblyai-formats-later": (assemblyai("universal-streaming-english"), ASSEMBLYAI),
    "deepgram-nova": (deepgram("nova-3"), NOVA),
    "deepgram-flux": (deepgram("flux-multi"), FLUX),
    "openai": (openai("gpt-live-transcribe"), OPENAI),
    "openai-vad": (openai("gpt-4o-transcribe"), OPENAI),
}
ACTS = st.sampled_from(["audio", "audio", "speech", "flush", "keep_alive", "finish"])


def do(dialect: Dialect, act: str) -> None:
    match act:
        case "audio":
            dialect.audio(bytes(960))
        case "speech":
            dialect.audio(say("one two")[:7_680])
        case "flush":
            dialect.flush()
        case "keep_alive":
            dialect.keep_alive()
        case _:
            dialect.finish()


def check(event: VendorEvent) -> None:
    match event:
        case Said():
            assert 0 <= event.start_ms <= event.end_ms
            assert event.confidence is None or 0 <= event.confidence <= 1
            assert all(0 <= word.start_ms <= word.end_ms and word.text for word in event.words)
            assert event.final or not event.utterance_end
        case Speaking(at_ms) | Settled(at_ms):
            assert isinstance(at_ms, int)
            assert at_ms >= 0
        case _:
            pass


@pytest.mark.parametrize("name", DIALECTS)
@given(data=st.data())
def test_no_history_of_messages_raises_or_makes_nonsense(name: str, data: st.DataObject) -> None:
    make, messages = DIALECTS[name]
    dialect = make()
    finished = False
    steps = st.one_of(ACTS, messages.map(json.dumps), ANYTHING.map(json.dumps), st.binary(max_size=20))
    for step in data.draw(st.lists(steps, max_size=30)):
        if isinstance(step, str) and step in ("audio", "speech", "flush", "keep_alive", "finish"):
            if not finished or step != "audio":
                do(dialect, step)
            finished = finished or step == "finish"
            continue
        for event in dialect.receive(step):
            check(event)
            assert name.startswith(("assemblyai", "deepgram")) or finished or not isinstance(event, Done)
