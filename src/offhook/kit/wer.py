"""How far a transcript is from what was said: word error rate. Pure, for tests and demonstrations."""

import re
from dataclasses import dataclass

_SAME = {
    "mr": "mister",
    "mrs": "missus",
    "dr": "doctor",
    "st": "saint",
    "ok": "okay",
}
_UNITS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
_TENS = (
    "zero",
    "ten",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
)
_APOSTROPHES = str.maketrans("", "", "'\u2018\u2019")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}\b)")
_WORD = re.compile(r"\d+|[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class WordErrors:
    """The fewest edits that turn what was heard into what was said."""

    substituted: int
    missing: int
    extra: int
    reference_words: int

    @property
    def rate(self) -> float:
        """Return errors per word said; 0 is perfect, above 1 is possible. Nothing said counts as one word."""
        return (self.substituted + self.missing + self.extra) / max(1, self.reference_words)


def normalise(text: str) -> list[str]:
    """Return the words of `text` as spoken: no case, no punctuation, numbers spelled out.

    Two-digit numbers are spelled as such, longer ones digit by digit, as telephone numbers are said.
    """
    plain = _GROUPED.sub("", text.lower().translate(_APOSTROPHES))
    words: list[str] = []
    for token in _WORD.findall(plain):
        words.extend(_spell(token) if token.isdigit() else [_SAME.get(token, token)])
    return words


def word_errors(said: str, heard: str) -> WordErrors:
    """Compare `heard` with `said`, both normalised."""
    reference, hypothesis = normalise(said), normalise(heard)
    # Each cell: (edits, substituted, missing, extra) for the prefixes so far.
    row = [(extra, 0, 0, extra) for extra in range(len(hypothesis) + 1)]
    for count, word in enumerate(reference, start=1):
        above, row = row, [(count, 0, count, 0)]
        for column, guess in enumerate(hypothesis, start=1):
            edits, substituted, missing, extra = above[column - 1]
            if word == guess:
                row.append((edits, substituted, missing, extra))
                continue
            paths = [(edits + 1, substituted + 1, missing, extra)]
            edits, substituted, missing, extra = above[column]
            paths.append((edits + 1, substituted, missing + 1, extra))
            edits, substituted, missing, extra = row[column - 1]
            paths.append((edits + 1, substituted, missing, extra + 1))
            row.append(min(paths))
    _, substituted, missing, extra = row[-1]
    return WordErrors(substituted, missing, extra, len(reference))


def word_error_rate(said: str, heard: str) -> float:
    """Return the word error rate of `heard` against `said`."""
    return word_errors(said, heard).rate


def _spell(digits: str) -> list[str]:
    if not digits.isascii() or len(digits) > 2 or (len(digits) == 2 and digits[0] == "0"):
        return [_UNITS[int(digit)] for digit in digits]
    number = int(digits)
    if number < 20:
        return [_UNITS[number]]
    return [_TENS[number // 10]] + ([_UNITS[number % 10]] if number % 10 else [])
