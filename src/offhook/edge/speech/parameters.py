"""Which fields of `transcription_engine_config` (contract 2.2) matter to the engine that really serves. Pure.

An app names an engine of the API and the operator decides what serves it, so a field may ask for
what the serving engine cannot do. One rule for all engines: what only helps to hear better is
accepted, what would change the result is done or refused by name.
"""

from collections.abc import Collection, Mapping
from typing import Any

DEFAULTS: Mapping[str, Any] = {
    "profanity_filter": False,
    "enable_speaker_diarization": False,
    "min_speaker_count": 2,
    "max_speaker_count": 6,
    "smart_format": True,
    "numerals": False,
    "utterance_end_ms": 1000,
    "eot_threshold": 0.7,
    "eot_timeout_ms": 5000,
    "enable_endpoint_detection": False,
}
"""What Telnyx documents for an absent field: to say so much asks for nothing."""
HELPS = frozenset({"hints", "speech_context", "keyterms", "keywords_boosting", "use_enhanced"})
"""Fields that can only make words more likely to be heard right."""
ELSEWHERE = frozenset({"region", "api_key_ref"})
"""Fields about an account or a place at a vendor: nothing to an engine that has neither."""
SWITCHED_BY: Mapping[str, str] = {
    "min_speaker_count": "enable_speaker_diarization",
    "max_speaker_count": "enable_speaker_diarization",
    "max_endpoint_delay_ms": "enable_endpoint_detection",
}
"""Fields that say nothing unless another one is true."""
FIELDS = HELPS | ELSEWHERE | DEFAULTS.keys() | SWITCHED_BY.keys() | {"eager_eot_threshold"}
"""All that an engine may be asked for beside language, model and interim results."""
ENDPOINT = frozenset({"utterance_end_ms", "enable_endpoint_detection", "max_endpoint_delay_ms"})
"""Fields that `endpoint_ms` turns into the silence that ends an utterance."""
ENDPOINT_MS_MIN = 100
ENDPOINT_MS_MAX = 5000


def refused(asked: Mapping[str, Any], honoured: Collection[str]) -> tuple[str, ...]:
    """Return the fields of `asked` that an engine which honours those others cannot do, in order."""
    return tuple(name for name in asked if name not in honoured and _changes_results(name, asked))


def unused(asked: Mapping[str, Any], honoured: Collection[str]) -> tuple[str, ...]:
    """Return the fields of `asked` that are accepted and make no difference, in order."""
    return tuple(
        name for name, value in asked.items() if name in HELPS | ELSEWHERE and value and name not in honoured
    )


def endpoint_ms(asked: Mapping[str, Any], default_ms: int) -> int:
    """Return the silence that ends an utterance, from the fields of `ENDPOINT`; 0 asks for none of them."""
    wanted_ms: int = asked.get("utterance_end_ms") or default_ms
    if asked.get("enable_endpoint_detection"):
        wanted_ms = min(wanted_ms, asked.get("max_endpoint_delay_ms", wanted_ms))
    return min(max(wanted_ms, ENDPOINT_MS_MIN), ENDPOINT_MS_MAX)


def _changes_results(name: str, asked: Mapping[str, Any]) -> bool:
    if name in HELPS or name in ELSEWHERE or (name in DEFAULTS and asked[name] == DEFAULTS[name]):
        return False
    switch = SWITCHED_BY.get(name)
    return switch is None or bool(asked.get(switch))
