"""The query of the transcription socket: what each parameter does, and the code of each refusal."""

import pytest
from starlette.datastructures import QueryParams

from offhook.base import limits
from offhook.call.values import Track
from offhook.edge.http.transcription_query import (
    INPUT_FORMATS,
    TITLES,
    AskedTranscription,
    SocketRefusal,
    read_query,
    unknown_parameters,
)

pytestmark = pytest.mark.unit

PLAIN = "transcription_engine=Deepgram&input_format=linear16&sample_rate=16000"


def read(more: str = "", *, plain: str = PLAIN, ignore_unsupported: bool = False) -> AskedTranscription:
    return read_query(QueryParams(f"{plain}&{more}"), ignore_unsupported=ignore_unsupported)


def refused(query: str) -> SocketRefusal:
    with pytest.raises(SocketRefusal) as caught:
        read_query(QueryParams(query))
    return caught.value


def test_a_plain_query_asks_for_finals_of_one_track() -> None:
    asked = read()
    assert (asked.input_format, asked.sample_rate_hz, asked.endpoint_ms) == ("linear16", 16_000, None)
    options = asked.options
    assert (options.engine, options.tracks, options.interim_results) == ("Deepgram", (Track.RX,), False)
    assert (options.model, options.language, dict(options.options)) == (None, None, {})


def test_everything_asked_for_is_passed_on() -> None:
    asked = read(
        "model=nova-3&language=en-us&interim_results=true&endpointing=300"
        "&keyterm=Offhook&keyterm=hold%20music&keywords=SIP,%20RTP,"
    )
    assert asked.options.model == "deepgram/nova-3"
    assert asked.options.language == "en-US"
    assert asked.options.interim_results
    assert asked.endpoint_ms == 300
    assert asked.options.options == {"keyterms": ["Offhook", "hold music", "SIP", "RTP"]}
    other = read("keywords=SIP&model=deepgram/nova-2")
    assert other.options.options == {"hints": ["SIP"]}


@pytest.mark.parametrize(
    ("asked", "engine"),
    [
        ("transcription_engine=telnyx", "Telnyx"),
        ("transcription_engine=xAI", "xAI"),
        ("transcription_engine=B", "B"),
        ("model=openai/whisper-tiny", "Telnyx"),
        ("model=soniox/stt-rt-v4", "Soniox"),
    ],
)
def test_engines_are_known_in_any_case_and_by_their_models(asked: str, engine: str) -> None:
    assert read(plain="input_format=wav", more=asked).options.engine == engine


@pytest.mark.parametrize(
    ("asked", "endpoint_ms"),
    [("", None), ("true", None), ("false", 5000), ("10", 100), ("700", 700), ("60000", 5000)],
)
def test_endpointing_is_milliseconds_within_bounds_or_false(asked: str, endpoint_ms: int | None) -> None:
    assert read(f"endpointing={asked}").endpoint_ms == endpoint_ms


@pytest.mark.parametrize("input_format", INPUT_FORMATS)
def test_every_format_that_is_offered_is_taken(input_format: str) -> None:
    plain = "transcription_engine=Telnyx&sample_rate=8000"
    assert read(plain=plain, more=f"input_format={input_format}").input_format == input_format


def test_g711_has_8_khz_unless_it_says_more_and_files_tell_it_themselves() -> None:
    assert read(plain="transcription_engine=Telnyx&input_format=mulaw").sample_rate_hz == 8000
    assert (
        read(plain="transcription_engine=Telnyx&input_format=alaw&sample_rate=16000").sample_rate_hz == 16_000
    )
    assert read(plain="transcription_engine=Telnyx&input_format=mp3&sample_rate=1").sample_rate_hz == 0


ENGINE = "transcription_engine=Telnyx"
SAMPLES = f"{ENGINE}&input_format=linear16"
WRONG = [
    (ENGINE, "40001", "input_format"),
    (f"{ENGINE}&input_format=secret", "40001", "input_format"),
    (f"{ENGINE}&input_format=ogg_opus", "40002", "input_format"),
    (f"{ENGINE}&input_format=g729", "40002", "input_format"),
    (SAMPLES, "40003", "sample_rate"),
    (f"{ENGINE}&input_format=linear32&sample_rate=", "40003", "sample_rate"),
    (f"{SAMPLES}&sample_rate=7999", "40004", "sample_rate"),
    (f"{SAMPLES}&sample_rate=48001", "40004", "sample_rate"),
    (f"{SAMPLES}&sample_rate=16k", "40004", "sample_rate"),
    (f"{SAMPLES}&sample_rate=-8000", "40004", "sample_rate"),
    (f"{SAMPLES}&sample_rate={'9' * 5000}", "40004", "sample_rate"),
    (f"{ENGINE}&input_format=mulaw&sample_rate=24000", "40005", "sample_rate"),
    ("transcription_engine=Deepgram&model=flux&input_format=wav", "40006", "input_format"),
    ("input_format=wav", "40007", "transcription_engine"),
    ("input_format=wav&model=nobody/knows", "40007", "transcription_engine"),
    ("transcription_engine=secret&input_format=wav", "40007", "transcription_engine"),
    (f"{ENGINE}&input_format=wav&model=secret", "10032", "model"),
    (f"{ENGINE}&input_format=wav&language=secret", "10032", "language"),
    (f"{ENGINE}&input_format=wav&interim_results=maybe", "10026", "interim_results"),
    (f"{ENGINE}&input_format=wav&endpointing=soon", "10026", "endpointing"),
    (f"{ENGINE}&input_format=wav&redact=pci", "10038", "redact"),
    (f"{ENGINE}&input_format=wav&keywords={'a,' * 101}", "10033", "keywords"),
    (f"{ENGINE}&input_format=wav&keyterm={'a' * 101}", "10025", "keyterm"),
]


@pytest.mark.parametrize(("query", "code", "parameter"), WRONG)
def test_what_is_wrong_is_told_by_code_and_parameter_and_never_repeated(
    query: str, code: str, parameter: str
) -> None:
    refusal = refused(query)
    frame = refusal.frame()
    [error] = frame["errors"]
    assert (error["code"], error["source"]) == (code, {"parameter": parameter})
    assert error["title"]
    assert frame["type"] == "error"
    assert frame["error"] == error["detail"]
    assert "secret" not in str(frame) + str(refusal)


def test_every_code_of_the_socket_is_in_use() -> None:
    assert set(TITLES) <= {code for _, code, _ in WRONG}


def test_what_is_not_done_can_be_ignored() -> None:
    assert read("redact=pci", ignore_unsupported=True).input_format == "linear16"


def test_unknown_parameters_are_named_within_bounds() -> None:
    assert unknown_parameters(QueryParams(f"{PLAIN}&encoding=opus&{'x' * 100}=1")) == ["encoding", "x" * 64]
    assert len(unknown_parameters(QueryParams("&".join(f"p{n}=1" for n in range(50))))) == 10


def test_as_many_terms_as_allowed_are_taken() -> None:
    most = limits.TRANSCRIPTION_SOCKET_PHRASES_MAX
    assert len(read("&".join(f"keyterm=t{n}" for n in range(most))).options.options["hints"]) == most
