"""Which texts are believed."""

import pytest

from offhook.edge.speech.gates import accept, collapse_loops
from offhook.edge.speech.protocol import Heard, Word

pytestmark = pytest.mark.unit


def heard(text: str, confidence: float = 0.9) -> str | None:
    accepted = accept(Heard(text, confidence), final=True)
    return None if accepted is None else accepted.text


@pytest.mark.parametrize("text", ["", "   ", "...", "\u266a \u266a", "-- !"])
def test_text_without_letters_or_digits_is_nothing(text: str) -> None:
    assert heard(text) is None


def test_low_confidence_is_noise() -> None:
    assert heard("You", 0.34) is None
    assert heard("please hold the line", 0.44) is None
    assert heard("please hold the line", 0.46) == "please hold the line"


@pytest.mark.parametrize(
    "text", ["Thank you for watching.", "Thanks for watching!", "Please subscribe.", "You"]
)
def test_what_the_model_invents_most_is_never_believed(text: str) -> None:
    assert heard(text, 0.99) is None


@pytest.mark.parametrize("text", ["So.", "Thank you.", "Bye."])
def test_common_inventions_need_a_sure_model(text: str) -> None:
    assert heard(text, 0.6) is None
    assert heard(text, 0.9) == text


def test_what_the_voice_detector_doubts_is_not_speech() -> None:
    assert accept(Heard("please hold the line", 0.9), final=True, voice=0.8) is None
    assert accept(Heard("please hold the line", 0.9), final=True, voice=0.9) is not None


@pytest.mark.parametrize("text", ["Mm-hmm.", "Thank you."])
def test_common_inventions_need_a_sure_voice_detector(text: str) -> None:
    assert accept(Heard(text, 0.9), final=True, voice=0.92) is None
    assert accept(Heard(text, 0.9), final=True, voice=0.99) is not None


def test_stock_phrases_inside_a_sentence_stay() -> None:
    text = "Thank you for watching the house while we were away."
    assert heard(text) == text


def test_white_space_is_made_plain() -> None:
    assert heard("  hello \n there ") == "hello there"


def test_a_loop_is_said_once() -> None:
    text = "Thank you. Bye. Thank you. Bye. Thank you. Bye. Thank you. Bye."
    assert collapse_loops(text, final=True) == "Thank you. Bye."
    assert collapse_loops("so we said " + "that it is " * 9, final=True) == "so we said that it is"


def test_the_words_of_a_loop_go_with_its_text() -> None:
    text = "Thank you. Bye. " * 4 + "Sir."
    words = tuple(Word(word, 100 * at, 100 * at + 90, 0.9) for at, word in enumerate(text.split()))
    accepted = accept(Heard(text, 0.9, words), final=True)
    assert accepted is not None
    assert accepted.text == "Thank you. Bye. Sir."
    assert [(word.text, word.start_ms) for word in accepted.words] == [
        ("Thank", 0),
        ("you.", 100),
        ("Bye.", 200),
        ("Sir.", 1200),
    ]


def test_words_that_are_not_those_of_the_text_are_not_told() -> None:
    accepted = accept(Heard("hold the line", 0.9, (Word("hold", 0, 100),)), final=True)
    assert accepted is not None
    assert accepted.words == ()


def test_a_model_without_confidence_is_believed_unless_its_words_are_stock() -> None:
    accepted = accept(Heard("thank you", None), final=True)
    assert accepted is not None
    assert accepted.confidence is None
    assert accept(Heard("Please subscribe.", None), final=True) is None


def test_a_looping_partial_is_caught_one_round_sooner() -> None:
    text = "the Internet connection drop of the Internet connection drop of"
    assert collapse_loops(text, final=False) == "the Internet connection drop of"
    assert collapse_loops(text, final=True) == text


@pytest.mark.parametrize(
    "text",
    [
        "no no no no no",
        "very very good",
        "one one one one two two two two",
        "1 2 1 2 1 2 1 2",
        "double five double five double five double five",
        "can you hear me can you hear me",
        "bye bye",
    ],
)
def test_what_people_really_repeat_stays(text: str) -> None:
    assert collapse_loops(text, final=True) == text
