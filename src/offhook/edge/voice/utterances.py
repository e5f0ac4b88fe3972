"""Where a text may be cut, so that the first words are heard while the rest is still being made."""

import re
from collections.abc import Iterator

from offhook.base.limits import VOICE_UTTERANCE_CHARACTERS_MAX

_SENTENCE_END = re.compile(r"[.!?…]+[\"”’')\]]*\s+(?=[^\s])")
_CLAUSE_END = re.compile(r"[,;:—–]\s+")
_NO_END = frozenset(
    {"mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "no", "nr", "fig", "approx", "dept", "est"}
    | {"etc", "e.g", "i.e", "a.m", "p.m", "inc", "ltd", "co", "corp"}
)
"""Words whose full stop does not end a sentence."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]+")


def utterances(text: str, *, characters_max: int = VOICE_UTTERANCE_CHARACTERS_MAX) -> Iterator[str]:
    """Yield the sentences of `text`, none longer than `characters_max`; what has no word is left out."""
    for line in _CONTROL.sub(" ", text).splitlines():
        for sentence in _sentences(" ".join(line.split())):
            for piece in _pieces(sentence, characters_max):
                if any(character.isalnum() or character in "%$€£&@+=#" for character in piece):
                    yield piece


def _sentences(line: str) -> Iterator[str]:
    begin = 0
    for end in _SENTENCE_END.finditer(line):
        if _ends(line, end.start(), end.end()):
            yield line[begin : end.end()].rstrip()
            begin = end.end()
    yield line[begin:]


def _ends(line: str, stop: int, follows: int) -> bool:
    if line[follows].islower():
        return False
    if line[stop] != ".":
        return True
    word = line[line.rfind(" ", 0, stop) + 1 : stop].strip("(\"'“‘").lower()
    return word not in _NO_END and not (len(word) == 1 and word.isalpha())


def _pieces(sentence: str, characters_max: int) -> Iterator[str]:
    while len(sentence) > characters_max:
        window = sentence[:characters_max]
        clauses = [found.end() for found in _CLAUSE_END.finditer(window)]
        cut = clauses[-1] if clauses else window.rfind(" ") + 1
        cut = cut or characters_max
        yield sentence[:cut].rstrip()
        sentence = sentence[cut:].lstrip()
    if sentence:
        yield sentence
