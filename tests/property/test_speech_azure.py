"""No message of Azure raises, and silence of ours moves no time."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.edge.speech.protocol import SpeechConfig
from offhook.edge.speech.vendors.azure import AzureDialect
from offhook.edge.speech.vendors.dialect import Said, Settled, Speaking
from offhook.edge.speech.vendors.padding import Padding

pytestmark = pytest.mark.property

KEYS = st.sampled_from(
    [
        "RecognitionStatus",
        "NBest",
        "Words",
        "DisplayWords",
        "Offset",
        "Duration",
        "Word",
        "Display",
        "Text",
        "context",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.sampled_from(["Success", "NoMatch", "a", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)
PATHS = st.sampled_from(
    [
        "turn.start",
        "turn.end",
        "speech.startDetected",
        "speech.hypothesis",
        "speech.phrase",
        "speech.endDetected",
        "x",
    ]
)


@given(st.lists(st.tuples(PATHS, VALUES, st.booleans()), max_size=12))
def test_no_history_of_messages_raises_or_moves_time_backwards(
    history: list[tuple[str, object, bool]],
) -> None:
    dialect = AzureDialect(SpeechConfig(options={"api_key": "k", "region": "r"}))
    dialect.opening()
    for path, body, flush in history:
        messages = [*dialect.audio(bytes(3200)), *(dialect.flush() if flush else ())]
        assert all(isinstance(message, str | bytes) for message in messages)
        text = f"X-RequestId:{dialect._request_id}\r\nPath:{path}\r\n\r\n{json.dumps(body)}"
        for event in dialect.receive(text):
            match event:
                case Said(start_ms=start_ms, end_ms=end_ms):
                    assert 0 <= start_ms <= end_ms
                case Speaking(at_ms) | Settled(at_ms):
                    assert at_ms >= 0


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=20), st.data())
def test_what_was_heard_at_any_time_lies_where_it_was_in_the_audio(
    spans: list[tuple[int, int]], data: st.DataObject
) -> None:
    padding = Padding(8000)
    places: list[int] = []  # by ms of all that was sent: where it lies in the audio
    audio_ms = 0
    for heard_ms, silent_ms in spans:
        padding.heard(bytes(heard_ms * 16))
        places += range(audio_ms, audio_ms + heard_ms)
        audio_ms += heard_ms
        assert len(padding.silence(silent_ms)) == silent_ms * 16
        places += [audio_ms] * silent_ms
    at_ms = data.draw(st.integers(0, len(places)))
    assert padding.audio_ms(at_ms) == [*places, audio_ms][at_ms]


def test_very_many_silences_are_merged() -> None:
    padding = Padding(8000)
    for _ in range(Padding.SPANS_MAX + 10):
        padding.heard(bytes(160))
        padding.silence(10)
    total_ms = (Padding.SPANS_MAX + 10) * 20
    assert padding.audio_ms(total_ms) == total_ms // 2
