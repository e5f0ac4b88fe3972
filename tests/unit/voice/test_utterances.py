"""Text is cut where a speaker would breathe."""

import pytest

from offhook.edge.voice.local import cut_phonemes
from offhook.edge.voice.utterances import utterances

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello. How are you? Fine!", ["Hello.", "How are you?", "Fine!"]),
        ("Dr. Smith met J. K. Rowling at 5 p.m. on St. Mary St. in town.", None),
        ("It costs 3.50 today", None),
        ("wait... what", None),
        ("first line\nsecond  line", ["first line", "second line"]),
        ('She said "Stop." Then she left.', ['She said "Stop."', "Then she left."]),
        (" ... !? ", []),
        ("100% & more", None),
        ("a\x00b\u200bc", ["a b c"]),
        ("", []),
    ],
)
def test_sentences_are_found(text: str, expected: list[str] | None) -> None:
    assert list(utterances(text)) == ([text] if expected is None else expected)


def test_a_long_sentence_is_cut_at_a_comma_then_at_a_space_then_anywhere() -> None:
    assert list(utterances("one two, three four five", characters_max=12)) == [
        "one two,",
        "three four",
        "five",
    ]
    assert list(utterances("x" * 25, characters_max=10)) == ["x" * 10, "x" * 10, "x" * 5]


def test_phonemes_are_cut_likewise() -> None:
    phonemes = "ab " * 50 + "cd, " + "ef " * 60
    pieces = list(cut_phonemes(phonemes))
    assert pieces[0].endswith("cd,")
    assert all(len(piece) <= 250 for piece in pieces)
    assert "".join(pieces).replace(" ", "") == phonemes.replace(" ", "")
    assert [len(piece) for piece in cut_phonemes("a" * 600)] == [250, 250, 100]
