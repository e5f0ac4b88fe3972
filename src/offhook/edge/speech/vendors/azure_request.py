"""What Azure Speech is asked for: its address, a key and `speech.context`. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from offhook.base import limits
from offhook.edge.speech.parameters import ENDPOINT, endpoint_ms
from offhook.edge.speech.protocol import ParameterUnsupported, SpeechConfig, SpeechUnavailable
from offhook.edge.speech.vendors import hints, locales

PARAMETERS = ENDPOINT | hints.PHRASES | {"region", "api_key_ref", "profanity_filter", "smart_format"}

_PUBLIC_URL = "wss://{region}.stt.speech.microsoft.com"
_PATH = "/speech/recognition/conversation/cognitiveservices/v1"
_QUERY = {"format": "detailed", "wordLevelTimestamps": "true", "wordLevelConfidence": "true"}
_PATH_AUTO = "/speech/universal/v2"
"""Only this address finds out which language is spoken; all else stands in `speech.context`."""
_REGION = re.compile(r"[a-z0-9]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AzureRequest:
    """A checked request."""

    url: str
    key: str = field(repr=False)
    context: dict[str, Any] = field(repr=False)
    endpoint_ms: int
    formatted: bool
    """False: the words as they were spoken are wanted, without punctuation and figures."""

    @classmethod
    def of(cls, config: SpeechConfig) -> "AzureRequest":
        """Return what `config` asks for.

        Raises:
            LanguageUnsupported: Azure does not know the language.
            ParameterUnsupported: a field asks for what Azure cannot do, or for a key that is not there.
            SpeechUnavailable: no key or no region is set.
        """
        auto = config.language.lower() in locales.AUTO
        language = "" if auto else locales.locale(config.language or "en", locales.AZURE, "azure")
        silence_ms = endpoint_ms(config.parameters, config.endpoint_ms)
        return cls(
            url=_url(config, language),
            key=_key(config),
            context=_context(config, language, silence_ms),
            endpoint_ms=silence_ms,
            formatted=config.parameters.get("smart_format") is not False,
        )


def _key(config: SpeechConfig) -> str:
    reference = config.parameters.get("api_key_ref")
    if reference:
        keys: Mapping[str, str] = config.options.get("keys") or {}
        if reference not in keys:
            raise ParameterUnsupported("api_key_ref", "this server holds no Azure key of that name")
        return keys[reference]
    key = config.options.get("api_key")
    if not key:
        raise SpeechUnavailable("the azure engine lacks its key: set azure.api_key")
    return str(key)


def _url(config: SpeechConfig, language: str) -> str:
    base = str(config.options.get("url") or _PUBLIC_URL).rstrip("/")
    if "{region}" in base:
        region = str(config.parameters.get("region") or config.options.get("region") or "").lower()
        if not region:
            raise SpeechUnavailable("the azure engine lacks a region: set azure.region")
        if not _REGION.fullmatch(region):
            raise ParameterUnsupported("region", "that is no region of Azure")
        base = base.replace("{region}", region)
    if not language:
        return base + _PATH_AUTO
    return f"{base}{_PATH}?{urlencode({'language': language, **_QUERY})}"


def _context(config: SpeechConfig, language: str, silence_ms: int) -> dict[str, Any]:
    silence = {"mode": "Custom", "segmentationSilenceTimeoutMs": silence_ms}
    detection: dict[str, Any] = {"mode": "CONVERSATION", "CONVERSATION": {"segmentation": silence}}
    output: dict[str, Any] = {
        "format": "Detailed",
        "detailed": {"options": ["WordTimings", "WordConfidence"]},
    }
    context = {"phraseDetection": detection, "phraseOutput": output, "audio": {"streams": {"1": None}}}
    if "profanity_filter" in config.parameters:
        masked = "masked" if config.parameters["profanity_filter"] else "raw"
        detection["enrichment"] = {"profanity": masked}
    phrases = hints.phrases(
        config, count_max=limits.AZURE_PHRASES_MAX, characters_max=limits.AZURE_PHRASE_CHARACTERS_MAX
    )
    if phrases:
        items = [{"Text": phrase} for phrase in phrases]
        context["dgi"] = {"Groups": [{"Type": "Generic", "Items": items}], "bias": 1.0}
    if language:
        detection["language"] = language
    else:
        detection |= {"onSuccess": {"action": "None"}, "onInterim": {"action": "None"}}
        output |= {"interimResults": {"resultType": "Auto"}, "phraseResults": {"resultType": "Always"}}
        context["languageId"] = _language_id(config)
    return context


def _language_id(config: SpeechConfig) -> dict[str, Any]:
    candidates = config.options.get("auto_languages") or ("en",)
    return {
        "mode": "DetectAtAudioStart",
        "Priority": "PrioritizeLatency",
        "languages": [locales.locale(code, locales.AZURE, "azure") for code in candidates],
        "onSuccess": {"action": "Recognize"},
        "onUnknown": {"action": "None"},
    }
