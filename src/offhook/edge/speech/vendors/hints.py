"""Words that an app expects and the language it names, whatever its engine calls them (contract 2.2). Pure."""

from offhook.edge.speech.protocol import SpeechConfig

PHRASES = frozenset({"hints", "keyterms", "keywords_boosting", "speech_context"})
"""The fields that name words; each only makes them likelier."""


def boosts(config: SpeechConfig) -> dict[str, float]:
    """Return the expected words and how much each is wanted."""
    asked = config.parameters
    boosted: dict[str, float] = dict.fromkeys([*asked.get("hints", ()), *asked.get("keyterms", ())], 1.0)
    for context in asked.get("speech_context", ()):
        boosted |= dict.fromkeys(context.get("phrases", ()), context.get("boost", 1.0))
    boosted |= asked.get("keywords_boosting", {})
    return boosted


def phrases(config: SpeechConfig, *, count_max: int, characters_max: int) -> list[str]:
    """Return the expected words once each, the most wanted first; what a vendor would refuse is left out."""
    boosted = boosts(config)
    wanted = sorted(boosted, key=lambda phrase: -boosted[phrase])
    return [phrase for phrase in wanted if 0 < len(phrase.strip()) <= characters_max][:count_max]


def primary_language(config: SpeechConfig) -> str | None:
    """Return the language without its region; None when the vendor is to find out."""
    primary = config.language.replace("_", "-").split("-")[0].lower()
    return None if primary in ("", "auto", "multi") else primary
