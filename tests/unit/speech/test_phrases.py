"""Phrases that an app expects come from every field that holds them."""

import pytest

from offhook.base.limits import SPEECH_PHRASES_CHARS_MAX
from offhook.edge.speech.phrases import asked_phrases

pytestmark = pytest.mark.unit


def test_phrases_of_all_fields_come_once_and_in_order() -> None:
    parameters = {
        "hints": ["Offhook", "dial  tone"],
        "keyterms": ["trunk"],
        "speech_context": [{"phrases": ["dial tone", "SIP"], "boost": 2.0}, {"phrases": []}],
        "use_enhanced": True,
    }
    assert asked_phrases(parameters) == ["Offhook", "dial tone", "trunk", "SIP"]
    assert asked_phrases({"hints": ["  "]}) == []


def test_more_phrases_than_a_model_takes_are_left_out() -> None:
    phrases = asked_phrases({"hints": [f"phrase {number:05}" for number in range(5_000)]})
    assert phrases[0] == "phrase 00000"
    assert sum(map(len, phrases)) <= SPEECH_PHRASES_CHARS_MAX
