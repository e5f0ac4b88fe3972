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
        ("room 42, floor 7", "room 4 2 floor 7"),
        ("forty-two", "4 2"),
        ("call 555-0199", "call 5 5 5 0 1 9 9"),
        ("five five five oh one nine nine", "5 5 5 0 1 9 9"),
        ("oh, no", "oh no"),
        ("1,234", "1 2 3 4"),
        ("one thousand two hundred and thirty four", "1 2 3 4"),
        ("two million and five", "2 0 0 0 0 0 5"),
        ("nineteen eighty four", "1 9 8 4"),
        ("one and one", "1 and 1"),
        ("one hundred and", "1 0 0 and"),
        ("07 and 30 and 15", "0 7 and 3 0 and 1 5"),
        ("9:30 p.m. or 10:00 am", "9 3 0 p m or 1 0 a m"),
        ("the 3rd, the 21st, the 30th", "the third the 2 0 first the thirtieth"),
        ("twenty-first, 101st", "2 0 first 1 0 1 st"),
        ("$5, 20 %, 2.5", "5 dollars 2 0 percent 2 point 5"),
        ("I can't, it's, we'll, you\u2019re", "i can not it is we will you are"),
        ("Anna's voicemail", "annas voice mail"),
        ("Good-by, goodbye", "good bye good bye"),
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


def test_errors_of_several_texts_add_up() -> None:
    assert word_errors("a b", "a") + word_errors("c", "c d") == WordErrors(0, 1, 1, 3)


def test_the_rate_is_per_word_said() -> None:
    assert word_error_rate("one two three four", "one too three") == 0.5
    assert word_error_rate("", "") == 0.0
