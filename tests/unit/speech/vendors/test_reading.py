"""Reading what vendors say never raises and never believes too much."""

import json
from typing import Any

import pytest

from offhook.base.limits import VENDOR_TIME_MS_MAX, VENDOR_WORDS_MAX
from offhook.edge.speech.protocol import SpeechConfig
from offhook.edge.speech.vendors import hints, reading, verdicts

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "message", ["", "1", "[]", '"x"', "nul", "{", "[" * 100_000, b"\xff", None, 5, object()]
)
def test_only_json_objects_are_messages(message: Any) -> None:
    assert reading.json_object(message) is None
    assert reading.json_object(b'{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "value", [True, None, "5", [], {}, -1, float("nan"), float("inf"), 10**400, VENDOR_TIME_MS_MAX + 1]
)
def test_what_is_no_time_is_none(value: Any) -> None:
    assert reading.milliseconds(value) is None
    assert (reading.milliseconds(0), reading.milliseconds(12.9)) == (0, 12)


def test_numbers_texts_and_lists_are_taken_only_as_such() -> None:
    assert [reading.share(value) for value in (0, 1, 0.5, 1.1, -0.1, "1", True)] == [0, 1, 0.5] + [None] * 4
    assert [reading.whole(value) for value in (7, True, 7.0, "7")] == [7, None, None, None]
    assert [reading.text(value) for value in (" a \n b ", 5, None)] == ["a b", "", ""]
    assert [reading.language(value) for value in ("en-US", "", "x" * 36, 5)] == ["en-US", None, None, None]
    assert reading.objects([{}, 1, "x", {"a": 1}]) == [{}, {"a": 1}]
    assert reading.objects({"a": 1}) == []
    assert len(reading.objects([{}] * (VENDOR_WORDS_MAX + 1))) == VENDOR_WORDS_MAX


def test_only_words_are_spoken() -> None:
    said = ["[Music]", " [Silence] hello  [Laughter]", "...", "\u266a", "Hi, 5.", None, 7, "[a"]
    assert [reading.spoken(text) for text in said] == ["", "hello", "", "", "Hi, 5.", "", "", "[a"]


def test_confidence_is_the_geometric_mean_of_the_tokens() -> None:
    assert reading.likelihood([{"logprob": 0.0}, {"logprob": -2.0}]) == pytest.approx(0.3679, abs=1e-4)
    assert reading.likelihood([{"logprob": 5.0}]) == 1.0
    for nothing in (None, [], [{}], [{"logprob": "x"}], json.loads("[NaN]"), [{"logprob": float("-inf")}]):
        assert reading.likelihood(nothing) is None


def test_expected_words_come_from_every_field_once_the_most_wanted_first() -> None:
    config = SpeechConfig(
        parameters={
            "hints": ["a", "b"],
            "keyterms": ["b", "c"],
            "speech_context": [{"phrases": ["d"], "boost": 3.0}, {"phrases": ["e" * 9]}],
            "keywords_boosting": {"a": 2.0, "f": -1.0},
        }
    )
    assert hints.phrases(config, count_max=5, characters_max=8) == ["d", "a", "b", "c", "f"]
    assert hints.phrases(config, count_max=2, characters_max=8) == ["d", "a"]


@pytest.mark.parametrize(
    ("asked", "told"), [("en-US", "en"), ("PT_br", "pt"), ("auto", None), ("auto_detect", None), ("", None)]
)
def test_only_a_language_that_was_named_is_told(asked: str, told: str | None) -> None:
    assert hints.primary_language(SpeechConfig(language=asked)) == told


def test_a_refused_handshake_never_repeats_itself_for_a_bad_key() -> None:
    retries = {
        status: verdicts.refused("x", status).retry for status in (0, 302, 400, 401, 403, 408, 429, 500)
    }
    assert [status for status, retry in retries.items() if retry] == [0, 408, 429, 500]
