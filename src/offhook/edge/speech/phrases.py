"""The phrases that an app expects to hear, from whichever field of the request holds them. Pure."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from offhook.base.limits import SPEECH_PHRASES_CHARS_MAX

PHRASE_FIELDS = frozenset({"hints", "keyterms", "speech_context"})
"""Fields of `transcription_engine_config` (contract 2.2) that hold nothing but phrases and their weights."""


def asked_phrases(parameters: Mapping[str, Any]) -> list[str]:
    """Return the phrases of checked parameters in their order, each once, as far as the limit reaches."""
    phrases: list[str] = [*parameters.get("hints", ()), *parameters.get("keyterms", ())]
    for context in parameters.get("speech_context", ()):
        phrases += context.get("phrases", ())
    each_once = dict.fromkeys(" ".join(phrase.split()) for phrase in phrases if phrase.strip())
    lengths = accumulate(len(phrase) for phrase in each_once)
    return [
        phrase
        for phrase, so_far in zip(each_once, lengths, strict=True)
        if so_far <= SPEECH_PHRASES_CHARS_MAX
    ]
