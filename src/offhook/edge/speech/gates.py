"""Decides which texts of a recogniser are words somebody said. Pure.

A small model invents text on noise and tones. What it invents is known: note signs, a few stock
phrases from film subtitles, low confidence, and loops.
"""

import re
from dataclasses import replace

from offhook.edge.speech.protocol import Heard

CONFIDENCE_MIN = 0.45
"""Noise gives 0.29 to 0.34, good finals average 0.89."""
_DOUBTED_CONFIDENCE_MIN = 0.7
VOICE_MIN = 0.85
"""Noise and music that set the voice detector off reach 0.5 to 0.85, hardly ever more; speech reaches 0.95 and
mostly 1.0, under noise as well."""
_DOUBTED_VOICE_MIN = 0.95

# Said by subtitles, hardly ever by people on a telephone.
_STOCK = frozenset(
    {
        # The model's word for any short sound: music gave it with 0.84, somebody who said it with 0.66.
        "you",
        "thank you for watching",
        "thanks for watching",
        "thank you for watching this video",
        "thank you so much for watching",
        "please subscribe",
        "like and subscribe",
        "please subscribe to my channel",
        "subscribe to my channel",
        "ill see you in the next video",
        "see you in the next video",
        "subtitles by the amaraorg community",
    }
)
# Said by both: believed only when the model is sure.
_DOUBTED = frozenset(
    {"thank you", "bye", "bye bye", "so", "the", "oh", "uh", "um", "hmm", "mm", "mmh", "mmhmm"}
)

_DIGIT_WORDS = frozenset(
    ("zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "double", "triple")
)
_NGRAM_MAX = 12
_NOT_WORD = re.compile(r"[^\w\s]+")


def accept(heard: Heard, *, final: bool, voice: float = 1.0) -> Heard | None:
    """Return what to tell, with loops said once and plain white space, or None when nobody said it.

    `voice` is how sure the voice detector was at best. What the model gives no confidence for is
    doubted by its words and by that alone.
    """
    words = heard.text.split()
    sure = 1.0 if heard.confidence is None else heard.confidence
    if voice < VOICE_MIN or sure < CONFIDENCE_MIN or not _has_letters(heard.text):
        return None
    kept = _kept(words, final=final)
    text = " ".join(words[index] for index in kept)
    plain = _NOT_WORD.sub("", text.lower()).strip()
    doubted = sure < _DOUBTED_CONFIDENCE_MIN or voice < _DOUBTED_VOICE_MIN
    if plain in _STOCK or (plain in _DOUBTED and doubted):
        return None
    # Words that are not those of the text would put times beside the wrong ones.
    told = tuple(heard.words[index] for index in kept) if len(heard.words) == len(words) else ()
    return replace(heard, text=text, words=told)


def _has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)


def collapse_loops(text: str, *, final: bool) -> str:
    """Return `text` with looped phrases said once.

    People repeat a word or a short phrase, and spell numbers with repeated digits: those stay. A
    final needs three rounds to count as a loop; a partial, replaced within a second, needs two.
    """
    words = text.split()
    return " ".join(words[index] for index in _kept(words, final=final))


def _kept(words: list[str], *, final: bool) -> list[int]:
    """Return which words stay."""
    kept = list(range(len(words)))
    keys = [_NOT_WORD.sub("", word.lower()) or word for word in words]
    index = 0
    while index < len(keys):
        for size in range(1, min(_NGRAM_MAX, (len(keys) - index) // 2) + 1):
            rounds = _rounds(keys, index, size)
            if rounds >= _rounds_max(keys[index : index + size], final=final):
                del kept[index + size : index + rounds * size]
                del keys[index + size : index + rounds * size]
                break
        index += 1
    return kept


def _rounds(keys: list[str], index: int, size: int) -> int:
    phrase = keys[index : index + size]
    rounds = 1
    while keys[index + rounds * size : index + (rounds + 1) * size] == phrase:
        rounds += 1
    return rounds


def _rounds_max(phrase: list[str], *, final: bool) -> int:
    if all(key.isdigit() or key in _DIGIT_WORDS for key in phrase):
        return 12
    if len(phrase) == 1:
        return 6
    if len(phrase) < 4:
        return 4
    return 3 if final else 2
