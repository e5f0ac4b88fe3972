"""How far a transcript is from what was said: word error rate. Pure, for tests and demonstrations.

from offhook.kit.wer import word_error_rate
assert word_error_rate("I'd like room 42.", heard) <= 0.1
"""

import re
from dataclasses import dataclass

_UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = (
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate((*_UNITS, *_TEENS))} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_ORDINALS = (
    *("zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"),
    *("tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth"),
    *("sixteenth", "seventeenth", "eighteenth", "nineteenth"),
)
_SPELLINGS = {
    "mr": "mister",
    "mrs": "missus",
    "dr": "doctor",
    "st": "saint",
    "ok": "okay",
    "pm": "p m",
    "cannot": "can not",
    "voicemail": "voice mail",
    "mailbox": "mail box",
    "goodbye": "good bye",
    "good[ -]by": "good bye",
    "email": "e mail",
    "login": "log in",
    "blacklist": "black list",
    "keyword": "key word",
    "keywords": "key words",
    "neighbour": "neighbor",
    "colour": "color",
    "favour": "favor",
    "centre": "center",
    "metres": "meters",
    "grey": "gray",
}
# Both ways of saying these count as the same words.
_CONTRACTIONS = (
    (r"\bcan't\b", "can not"),
    (r"\bwon't\b", "will not"),
    (r"\blet's\b", "let us"),
    (r"n't\b", " not"),
    (r"'re\b", " are"),
    (r"'ve\b", " have"),
    (r"'ll\b", " will"),
    (r"'m\b", " am"),
    (r"\b(it|he|she|that|there|here|what|who|where|how)'s\b", r"\1 is"),
)
_WRITTEN = (
    (r"(?<=\d),(?=\d{3}\b)", ""),
    (r"(\d)\s*%", r"\1 percent"),
    (r"[$\u20ac\u00a3](\d+(?:\.\d+)?)", r"\1 dollars"),
    (r"\b(\d{1,2}):00\b", r"\1"),
    (r"(?<=\d)\s*([ap])\.?m\b", r" \1 m"),
    (r"(?<=\d)\.(?=\d)", " point "),
    *((rf"\b{word}\b", said) for word, said in _SPELLINGS.items()),
)
_RULES = tuple((re.compile(pattern), said) for pattern, said in (*_CONTRACTIONS, *_WRITTEN))
_WORD = re.compile(r"\d+|[^\W\d_]+")
_ORDINAL = re.compile(r"\b(\d{0,8}?)([2-9]?)(1?\d)(?:st|nd|rd|th)\b", re.ASCII)


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

    def __add__(self, other: "WordErrors") -> "WordErrors":
        """Return the errors of both together: rates of texts of different lengths have no mean."""
        return WordErrors(
            self.substituted + other.substituted,
            self.missing + other.missing,
            self.extra + other.extra,
            self.reference_words + other.reference_words,
        )


def normalise(text: str) -> list[str]:
    """Return the words of `text`, the same for every way of writing them.

    No case, no punctuation; contractions are written out; numbers become digits, each a word of its
    own, whether they were spelled ("nineteen eighty four", "one hundred and one") or not.
    """
    plain = text.lower().replace("\u2019", "'").replace("\u2018", "'")
    plain = _ORDINAL.sub(_ordinal, plain)
    for pattern, said in _RULES:
        plain = pattern.sub(said, plain)
    return _with_digits(_WORD.findall(plain.replace("'", "")))


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


def _ordinal(match: re.Match[str]) -> str:
    high, tens, low = match.groups()
    if high or (tens and int(low) > 9):
        return match[0]
    if tens and low == "0":
        return _TENS[int(tens) - 2].removesuffix("y") + "ieth"
    return f"{tens}0 {_ORDINALS[int(low)]}" if tens else _ORDINALS[int(low)]


def _with_digits(tokens: list[str]) -> list[str]:
    words: list[str] = []
    at = 0
    while at < len(tokens):
        if tokens[at] == "oh" and words and words[-1].isdigit():
            words.append("0")
            at += 1
        elif tokens[at] in _VALUES:
            value, at = _number(tokens, at)
            words.extend(str(value))
        else:
            words.extend(tokens[at] if tokens[at].isdigit() else [tokens[at]])
            at += 1
    return words


def _number(tokens: list[str], at: int) -> tuple[int, int]:
    """Return the number spelled at `at`, and where it ends. Two numbers in a row stay two."""
    total, part = 0, 0
    while True:
        below, at = _below_hundred(tokens, at)
        part += below
        while at < len(tokens) and tokens[at] in _SCALES:
            if tokens[at] == "hundred":
                part = min(part, 99) * 100
            else:
                total, part = total + part * _SCALES[tokens[at]], 0
            at += 1
        follows = at + 1 if tokens[at : at + 1] == ["and"] else at
        # "one hundred and one" goes on; "one and one" and "one two" do not.
        if tokens[at - 1] not in _SCALES or follows >= len(tokens) or tokens[follows] not in _VALUES:
            return total + part, at
        at = follows


def _below_hundred(tokens: list[str], at: int) -> tuple[int, int]:
    value = _VALUES[tokens[at]]
    if value >= 20 and at + 1 < len(tokens) and 1 <= _VALUES.get(tokens[at + 1], 0) <= 9:
        return value + _VALUES[tokens[at + 1]], at + 2
    return value, at + 1
