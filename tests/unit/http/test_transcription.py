"""Every form in which transcription has ever been asked for, and every wrong one."""

from importlib import import_module
from typing import Any, get_args, get_type_hints

import pytest

from offhook.call.commands import TranscriptionOptions
from offhook.call.values import Track
from offhook.edge.http import languages
from offhook.edge.http.problems import Refusal
from offhook.edge.http.schemas import TranscriptionStart
from offhook.edge.http.transcription import ENGINES, transcription_options

pytestmark = pytest.mark.unit


def options(config: dict[str, Any] | None = None, **members: Any) -> TranscriptionOptions:
    if config is not None:
        members["transcription_engine_config"] = config
    return transcription_options(TranscriptionStart.model_validate(members))


def refusal(config: dict[str, Any] | None = None, **members: Any) -> tuple[str, str | None]:
    with pytest.raises(Refusal) as refused:
        options(config, **members)
    problem = refused.value.problems[0]
    return problem.code, (problem.pointer or "").removeprefix("/transcription_engine_config")


def test_nothing_asked_means_google_on_the_inbound_track() -> None:
    assert options() == TranscriptionOptions(engine="Google", tracks=(Track.RX,))


@pytest.mark.parametrize("name", list(ENGINES))
def test_every_engine_name_is_taken_without_a_configuration(name: str) -> None:
    assert options(transcription_engine=name).engine == name
    assert options({}, transcription_engine=name).engine == name


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [("inbound", (Track.RX,)), ("outbound", (Track.TX,)), ("both", (Track.RX, Track.TX))],
)
def test_tracks_become_rx_and_tx(tracks: str, expected: tuple[Track, ...]) -> None:
    assert options(transcription_tracks=tracks).tracks == expected


def test_the_form_of_2024_has_language_and_interim_results_at_the_top() -> None:
    taken = options(transcription_engine="B", language="de", interim_results=True)
    assert taken == TranscriptionOptions(engine="B", language="de", interim_results=True)


def test_the_configuration_wins_over_the_form_of_2024() -> None:
    taken = options({"language": "fr", "interim_results": False}, language="de", interim_results=True)
    assert (taken.language, taken.interim_results) == ("fr", False)


# The traps of contract 2.2


def test_trap_a_the_sdk_names_vendor_and_model_where_the_specification_names_the_engine() -> None:
    config = {"transcription_engine": "deepgram/nova-2", "transcription_model": "deepgram/nova-2"}
    for members in ({}, {"transcription_engine": "Deepgram"}):
        taken = options(config, **members)
        assert (taken.engine, taken.model) == ("Deepgram", "deepgram/nova-2")
    assert options({"transcription_engine": "deepgram/nova-3"}).model == "deepgram/nova-3"
    assert options({"transcription_engine": "openai/whisper-tiny"}).engine == "Telnyx"


def test_trap_b_the_inner_engine_serves_when_no_outer_is_given_and_the_outer_wins_otherwise() -> None:
    assert options({"transcription_engine": "Telnyx"}).engine == "Telnyx"
    assert options({"transcription_engine": "Telnyx"}, transcription_engine="xAI").engine == "xAI"
    assert options({"transcription_engine": "Google"}, transcription_engine="A").engine == "A"


def test_trap_c_the_outer_engine_serves_when_the_configuration_names_none() -> None:
    taken = options({"region": "eastus", "language": "auto"}, transcription_engine="Azure")
    assert (taken.engine, taken.language, taken.options) == ("Azure", "auto", {"region": "eastus"})


@pytest.mark.parametrize(
    ("engine", "name", "model"),
    [
        ("Deepgram", "nova-3", "deepgram/nova-3"),
        ("Deepgram", "flux", "deepgram/flux"),
        ("Deepgram", "deepgram/nova-2-phonecall", "deepgram/nova-2-phonecall"),
        ("Telnyx", "whisper-large-v3-turbo", "openai/whisper-large-v3-turbo"),
        ("Parakeet", "parakeet-v3", "nvidia/parakeet-v3"),
        ("AssemblyAI", "assemblyai/universal-3-5-pro", "assemblyai/universal-3-5-pro"),
    ],
)
def test_trap_d_a_model_needs_no_vendor(engine: str, name: str, model: str) -> None:
    assert options({"transcription_model": name}, transcription_engine=engine).model == model


def test_every_model_of_every_engine_is_taken() -> None:
    for name, engine in ENGINES.items():
        for model in engine.models:
            config = {engine.model_field: model}
            if name == "Azure":
                config["region"] = "westeurope"
            assert options(config, transcription_engine=name).model == model


def test_every_documented_language_is_taken_in_any_case_and_with_either_dash(
    telnyx_languages: dict[str, list[str]],
) -> None:
    engines = {
        "GoogleTranscriptionLanguage": ("Google", {}),
        "TelnyxTranscriptionLanguage": ("Telnyx", {}),
        "AzureTranscriptionLanguage": ("Azure", {"region": "eastus"}),
        "DeepgramNova2TranscriptionLanguage": ("Deepgram", {"transcription_model": "deepgram/nova-2"}),
        "DeepgramNova3TranscriptionLanguage": ("Deepgram", {"transcription_model": "deepgram/nova-3"}),
        "XaiTranscriptionLanguage": ("xAI", {}),
        "SpeechmaticsTranscriptionLanguage": ("Speechmatics", {}),
    }
    for published, (engine, config) in engines.items():
        for code in telnyx_languages[published]:
            for form in (code, code.upper(), code.replace("-", "_")):
                taken = options(config | {"language": form}, transcription_engine=engine)
                assert taken.language == code, (engine, form)


def test_a_region_that_an_engine_does_not_list_falls_back_to_the_language() -> None:
    assert options({"language": "en-US"}).language == "en"
    assert languages.find("en-US", languages.NOVA_3) == "en-US"


@pytest.mark.parametrize("code", ["en", "auto", "pt-BR", "zh_Hant"])
def test_engines_without_a_list_take_any_well_formed_code(code: str) -> None:
    assert options({"transcription_engine": "Soniox", "language": code}).language == code
    assert options({"language": code}, transcription_engine="Parakeet").language == code


def test_an_empty_language_or_model_means_the_default() -> None:
    taken = options({"language": "", "model": ""})
    assert (taken.language, taken.model) == (None, None)


def test_the_fields_of_each_engine_arrive_as_options() -> None:
    google = {
        "hints": ["Offhook"],
        "speech_context": [{"phrases": ["a"], "boost": 20}],
        "use_enhanced": True,
        "profanity_filter": False,
        "enable_speaker_diarization": True,
        "min_speaker_count": 2,
        "max_speaker_count": 6,
    }
    taken = options({"model": "phone_call"} | google)
    assert taken.model == "phone_call"
    assert taken.options == google
    deepgram = {"keyterms": ["x"], "keywords_boosting": {"x": 1.5, "y": 2}, "utterance_end_ms": 0}
    config = {"transcription_engine": "Deepgram", "transcription_model": "nova-3"}
    assert options(config | deepgram).options == deepgram
    flux = {"eot_threshold": 0.7, "eager_eot_threshold": 0.5, "eot_timeout_ms": 5000}
    assert options({"transcription_engine": "deepgram/flux"} | flux).options == flux
    soniox = {"enable_endpoint_detection": True, "max_endpoint_delay_ms": 500}
    assert options({"transcription_engine": "Soniox"} | soniox).options == soniox


def test_unknown_fields_are_ignored() -> None:
    assert options({"new_in_2027": {"a": 1}, "hints": []}).options == {"hints": []}


@pytest.mark.parametrize(
    ("config", "code", "pointer"),
    [
        ({"transcription_engine": "Whisper"}, "10032", "/transcription_engine"),
        ({"transcription_engine": 3}, "10026", "/transcription_engine"),
        ({"language": "tlh"}, "10032", "/language"),
        ({"language": 1}, "10026", "/language"),
        ({"interim_results": "true"}, "10026", "/interim_results"),
        ({"model": "telepathy"}, "10032", "/model"),
        ({"model": {}}, "10026", "/model"),
        ({"hints": "word"}, "10026", "/hints"),
        ({"hints": [1]}, "10026", "/hints/0"),
        ({"speech_context": [{"boost": 21}]}, "10033", "/speech_context/0/boost"),
        ({"min_speaker_count": 0}, "10033", "/min_speaker_count"),
        ({"use_enhanced": 1}, "10026", "/use_enhanced"),
        (
            {"transcription_engine": "Telnyx", "transcription_model": "whisper-huge"},
            "10032",
            "/transcription_model",
        ),
        ({"transcription_engine": "Deepgram", "language": "en"}, "10004", "/transcription_model"),
        ({"transcription_engine": "deepgram/nova-9"}, "10032", "/transcription_model"),
        ({"transcription_engine": "deepgram/nova-3", "language": "hu"}, "10032", "/language"),
        ({"transcription_engine": "deepgram/nova-2", "hints": ["x"] * 101}, "10033", "/hints"),
        ({"transcription_engine": "deepgram/nova-2", "utterance_end_ms": 5001}, "10033", "/utterance_end_ms"),
        ({"transcription_engine": "deepgram/nova-2", "utterance_end_ms": 1.5}, "10026", "/utterance_end_ms"),
        (
            {"transcription_engine": "deepgram/nova-2", "keywords_boosting": {"x": "1"}},
            "10026",
            "/keywords_boosting/x",
        ),
        ({"transcription_engine": "deepgram/flux", "eot_threshold": 0.95}, "10033", "/eot_threshold"),
        (
            {"transcription_engine": "deepgram/flux", "eot_threshold": 0.5, "eager_eot_threshold": 0.6},
            "10033",
            "/eager_eot_threshold",
        ),
        ({"transcription_engine": "Azure", "language": "en"}, "10004", "/region"),
        ({"transcription_engine": "Azure", "region": "moon"}, "10032", "/region"),
        ({"transcription_engine": "Soniox", "max_endpoint_delay_ms": 499}, "10033", "/max_endpoint_delay_ms"),
        ({"transcription_engine": "Soniox", "language": "en us"}, "10032", "/language"),
        ({"transcription_engine": "Cohere", "language": "auto"}, "10032", "/language"),
        ({"transcription_engine": "Humain", "language": "fr"}, "10032", "/language"),
        ({"transcription_engine": "Reson8", "language": "da"}, "10032", "/language"),
    ],
)
def test_a_wrong_configuration_is_refused_where_it_is_wrong(
    config: dict[str, Any], code: str, pointer: str
) -> None:
    assert refusal(config) == (code, pointer)


def test_a_wrong_language_of_the_form_of_2024_is_told_at_the_top() -> None:
    assert refusal(language="tlh") == ("10032", "/language")


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_no_field_that_the_newest_sdk_has_for_an_engine_is_unknown(name: str) -> None:
    words = {"Deepgram": ("deepgram_nova2", "deepgram_nova3")}.get(
        name, (f"transcription_engine_{name.lower()}",)
    )
    common = {"transcription_engine", "language", "interim_results", "transcription_model", "model"}
    for word in words:
        module = import_module(f"telnyx.types.calls.{word}_config_param")
        kind = next(held for held_as, held in vars(module).items() if held_as.endswith("ConfigParam"))
        assert set(get_type_hints(kind)) - common <= set(ENGINES[name].fields)


def test_every_engine_that_the_newest_sdk_has_is_known() -> None:
    from telnyx.types.calls.action_start_transcription_params import ActionStartTranscriptionParams

    assert set(get_args(get_type_hints(ActionStartTranscriptionParams)["transcription_engine"])) == set(
        ENGINES
    )
