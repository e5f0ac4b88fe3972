"""Word error rate, by examples counted by hand."""

import pytest

from offhook.kit.wer import WordErrors, normalise, word_error_rate, word_errors

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", "hello world"),
        ("cold-hearted", "cold hearted"),
        ("Mr. O'Neil, M.D.", "mister oneil m d"),
        ("room 42, floor 7", "room forty two floor seven"),
        ("call 555-0199", "call five five five zero one nine nine"),
        ("1,234", "one two three four"),
        ("07 and 30 and 15", "zero seven and thirty and fifteen"),
        ("\u266a ...", ""),
    ],
)
def test_texts_are_compared_as_they_are_said(text: str, words: str) -> None:
    assert normalise(text) == words.split()


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("a b c", "a b c", WordErrors(0, 0, 0, 3)),
        ("a b c", "a x c", WordErrors(1, 0, 0, 3)),
        ("a b c", "a c", WordErrors(0, 1, 0, 3)),
        ("a b c", "a b b c", WordErrors(0, 0, 1, 3)),
        ("a b c", "", WordErrors(0, 3, 0, 3)),
        ("", "a", WordErrors(0, 0, 1, 0)),
        ("a b c d", "x a b d e", WordErrors(0, 1, 2, 4)),
    ],
)
def test_errors_are_the_fewest_edits(said: str, heard: str, errors: WordErrors) -> None:
    assert word_errors(said, heard) == errors


def test_the_rate_is_per_word_said() -> None:
    assert word_error_rate("one two three four", "one too three") == 0.5
    assert word_error_rate("", "") == 0.0
