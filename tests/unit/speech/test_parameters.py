"""What only helps is accepted, what would change results is done or refused by name."""

from typing import Any

import pytest

from offhook.edge.http.transcription import ENGINES
from offhook.edge.speech import parameters
from offhook.edge.speech.engine_map import API_NAMES
from offhook.edge.speech.protocol import EngineInfo, ParameterUnsupported, SpeechConfig
from offhook.edge.speech.service import SpeechService

pytestmark = pytest.mark.unit

PLAIN = EngineInfo("plain", ("en",))

CHANGES_RESULTS: dict[str, dict[str, Any]] = {
    "profanity_filter": {"profanity_filter": True},
    "enable_speaker_diarization": {"enable_speaker_diarization": True},
    "smart_format": {"smart_format": False},
    "numerals": {"numerals": True},
    "utterance_end_ms": {"utterance_end_ms": 0},
    "eot_threshold": {"eot_threshold": 0.8},
    "eager_eot_threshold": {"eager_eot_threshold": 0.5},
    "eot_timeout_ms": {"eot_timeout_ms": 500},
    "enable_endpoint_detection": {"enable_endpoint_detection": True},
}
HELPS: dict[str, Any] = {
    "hints": ["Offhook"],
    "speech_context": [{"phrases": ["Offhook"]}],
    "keyterms": ["Offhook"],
    "keywords_boosting": {"Offhook": 2.0},
    "use_enhanced": True,
}


def test_every_field_that_the_api_passes_on_has_a_rule() -> None:
    passed_on = {name for engine in ENGINES.values() for name in engine.fields}
    assert passed_on == parameters.FIELDS


@pytest.mark.parametrize("name", CHANGES_RESULTS)
def test_what_would_change_results_is_refused_by_its_name_unless_the_engine_does_it(name: str) -> None:
    config = SpeechConfig(parameters={"hints": ["x"], **CHANGES_RESULTS[name]})
    with pytest.raises(ParameterUnsupported, match=f"plain engine cannot do `{name}`") as caught:
        PLAIN.check(config)
    assert caught.value.parameter == name
    EngineInfo("able", ("en",), parameters=frozenset({name})).check(config)


@pytest.mark.parametrize(("name", "value"), parameters.DEFAULTS.items())
def test_a_documented_default_asks_for_nothing(name: str, value: Any) -> None:
    PLAIN.check(SpeechConfig(parameters={name: value}))


@pytest.mark.parametrize("name", HELPS)
def test_what_only_helps_is_never_refused(name: str) -> None:
    PLAIN.check(SpeechConfig(parameters={name: HELPS[name]}))
    assert parameters.unused({name: HELPS[name]}, ()) == (name,)
    assert parameters.unused({name: HELPS[name]}, {name}) == ()
    assert parameters.unused({name: type(HELPS[name])()}, ()) == (), "an empty list asks for nothing"


def test_an_account_elsewhere_is_nothing_to_an_engine_that_has_none() -> None:
    PLAIN.check(SpeechConfig(parameters={"region": "eastus", "api_key_ref": "mine"}))


def test_a_field_without_its_switch_says_nothing() -> None:
    counts = {"min_speaker_count": 3, "max_speaker_count": 4, "max_endpoint_delay_ms": 600}
    PLAIN.check(SpeechConfig(parameters=counts))
    PLAIN.check(SpeechConfig(parameters={**counts, "enable_speaker_diarization": False}))
    diarizes = EngineInfo("diarizes", (), parameters=frozenset({"enable_speaker_diarization"}))
    with pytest.raises(ParameterUnsupported) as caught:
        diarizes.check(SpeechConfig(parameters={**counts, "enable_speaker_diarization": True}))
    assert caught.value.parameter == "min_speaker_count"
    usual = {"min_speaker_count": 2, "max_speaker_count": 6}
    diarizes.check(SpeechConfig(parameters={**usual, "enable_speaker_diarization": True}))


@pytest.mark.parametrize(
    ("asked", "expected_ms"),
    [
        ({}, 500),
        ({"utterance_end_ms": 1200}, 1200),
        ({"utterance_end_ms": 0}, 500),
        ({"utterance_end_ms": 1}, 100),
        ({"utterance_end_ms": 5000}, 5000),
        ({"enable_endpoint_detection": True}, 500),
        ({"enable_endpoint_detection": True, "max_endpoint_delay_ms": 3000}, 500),
        ({"enable_endpoint_detection": True, "max_endpoint_delay_ms": 400}, 400),
        ({"max_endpoint_delay_ms": 400}, 500),
    ],
)
def test_the_silence_that_ends_an_utterance_follows_the_request(
    asked: dict[str, Any], expected_ms: int
) -> None:
    assert parameters.endpoint_ms(asked, 500) == expected_ms
    SpeechConfig(endpoint_ms=parameters.endpoint_ms(asked, 500))


def test_the_local_engine_takes_the_fields_about_the_end_of_an_utterance() -> None:
    ends = {"utterance_end_ms": 700, "enable_endpoint_detection": True, "max_endpoint_delay_ms": 600}
    SpeechService().check("Google", SpeechConfig(parameters=ends))
    with pytest.raises(ParameterUnsupported):
        SpeechService().check("Google", SpeechConfig(parameters={**ends, "profanity_filter": True}))


@pytest.mark.parametrize("name", API_NAMES)
def test_a_server_may_be_told_to_do_without(name: str) -> None:
    everything: dict[str, Any] = {}
    for asked in CHANGES_RESULTS.values():
        everything |= asked
    SpeechService(ignore_unsupported=True).check(name, SpeechConfig(parameters=everything))


def test_the_scripted_engine_takes_whatever_an_app_may_ask_for() -> None:
    everything = {name: value for asked in CHANGES_RESULTS.values() for name, value in asked.items()}
    service = SpeechService(default_engine="scripted", options={"scripted": {"script": []}})
    service.check("Deepgram", SpeechConfig(parameters={**everything, **HELPS}))
