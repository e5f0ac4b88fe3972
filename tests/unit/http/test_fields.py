"""Every parameter: what is taken, what is refused, and with which code and pointer."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from offhook.base import limits
from offhook.edge.http import schemas
from offhook.edge.http.commands import ACTIONS
from offhook.edge.http.problems import ERROR_URL, envelope, problems_of

pytestmark = pytest.mark.unit

URL = {"stream_url": "wss://app.example/media"}


def refused(model: type[Any], **members: Any) -> list[tuple[str, str | None]]:
    try:
        model.model_validate(members)
    except ValidationError as error:
        problems = problems_of(error)
        for problem in problems:
            assert problem.title
            assert problem.detail.endswith(".")
        return [(problem.code, problem.pointer) for problem in problems]
    return []


TAKEN = [
    (schemas.StreamingStart, {}),
    (schemas.StreamingStart, URL | {"stream_track": "both_tracks", "stream_codec": "AMR-WB"}),
    (schemas.StreamingStart, {"stream_url": "ws://127.0.0.1:9000"}),
    (schemas.StreamingStart, {"stream_url": "WSS://user:pw@app.example/x?y=z"}),
    (schemas.StreamingStart, {"stream_url": "ws://[::1]:9000/"}),
    (schemas.StreamingStart, {"stream_url": "ws://h/" + "x" * (limits.URL_CHARACTERS_MAX - 7)}),
    (schemas.StreamingStart, {"stream_bidirectional_sampling_rate": "16000"}),
    (schemas.StreamingStart, {"stream_bidirectional_sampling_rate": 48000}),
    (schemas.StreamingStart, {"stream_auth_token": "t" * 4000}),
    (schemas.StreamingStart, {"custom_parameters": [{"name": "a", "value": ""}]}),
    (schemas.StreamingStart, {"dialogflow_config": {"analyze_sentiment": True, "more": 1}}),
    (schemas.CommandBody, {"client_state": "aGFsbG8=", "command_id": "x" * 255, "unheard_of": [1]}),
    (schemas.CommandBody, {"client_state": ""}),
    (schemas.ForkStart, {"rx": "udp:192.0.2.1:1", "tx": "192.0.2.1:65535", "stream_type": "raw"}),
    (schemas.ForkStart, {"target": "udp:[2001:db8::1]:5000"}),
    (schemas.Reject, {"cause": "TEMPORARILY_UNAVAILABLE"}),
    (schemas.Hangup, {"custom_headers": [{"name": "X-Reason", "value": "über"}], "reason": "bye"}),
    (schemas.Answer, {"preferred_codecs": "G722,PCMU,PCMA,G729,OPUS,VP8,H264"}),
    (schemas.Answer, {"preferred_codecs": " pcma , PCMU"}),
    (schemas.Answer, {"preferred_codecs": "L16,AMR-WB"}),
    (schemas.Answer, {"sip_headers": [{"name": "User-to-User", "value": "00;encoding=hex"}]}),
    (schemas.Answer, {"webhook_url": "http://127.0.0.1:9/hook"}),
    (schemas.Answer, {"webhook_retries_policies": {"call.answered": {"retries_ms": [1000, 2000]}}}),
    (schemas.TranscriptionStart, {"transcription_engine": "B", "transcription_tracks": "both"}),
]


@pytest.mark.parametrize(("model", "members"), TAKEN)
def test_what_telnyx_documents_is_taken(model: type[Any], members: dict[str, Any]) -> None:
    assert refused(model, **members) == []


REFUSED = [
    # required, type, enum
    (schemas.Reject, {}, "10004", "/cause"),
    (schemas.Reject, {"cause": "busy"}, "10032", "/cause"),
    (schemas.Reject, {"cause": 486}, "10026", "/cause"),
    (schemas.ClientStateUpdate, {}, "10004", "/client_state"),
    (schemas.StreamingStart, {"stream_url": 1}, "10026", "/stream_url"),
    (schemas.StreamingStart, {"stream_track": "inbound"}, "10032", "/stream_track"),
    (schemas.StreamingStart, {"stream_track": ["inbound_track"]}, "10026", "/stream_track"),
    (schemas.StreamingStart, {"stream_codec": "pcmu"}, "10032", "/stream_codec"),
    (schemas.StreamingStart, {"stream_bidirectional_mode": "raw"}, "10032", "/stream_bidirectional_mode"),
    (
        schemas.StreamingStart,
        {"stream_bidirectional_codec": "default"},
        "10032",
        "/stream_bidirectional_codec",
    ),
    (
        schemas.StreamingStart,
        {"stream_bidirectional_target_legs": "all"},
        "10032",
        "/stream_bidirectional_target_legs",
    ),
    (schemas.StreamingStart, {"enable_dialogflow": "true"}, "10026", "/enable_dialogflow"),
    (schemas.StreamingStart, {"enable_dialogflow": 1}, "10026", "/enable_dialogflow"),
    (
        schemas.StreamingStart,
        {"dialogflow_config": {"analyze_sentiment": 0}},
        "10026",
        "/dialogflow_config/analyze_sentiment",
    ),
    (schemas.ForkStart, {"stream_type": "encrypted"}, "10032", "/stream_type"),
    (schemas.ForkStop, {"stream_type": True}, "10026", "/stream_type"),
    (schemas.Answer, {"send_silence_when_idle": "no"}, "10026", "/send_silence_when_idle"),
    (schemas.Answer, {"transcription": 0}, "10026", "/transcription"),
    (schemas.Answer, {"transcription_config": []}, "10026", "/transcription_config"),
    (
        schemas.Answer,
        {"transcription_config": {"transcription_engine": "Whisper"}},
        "10032",
        "/transcription_config/transcription_engine",
    ),
    (schemas.Answer, {"sip_headers": [{"name": "Subject", "value": "x"}]}, "10032", "/sip_headers/0/name"),
    (schemas.Answer, {"record": "always"}, "10032", "/record"),
    (schemas.Answer, {"deepfake_detection": {}}, "10004", "/deepfake_detection/enabled"),
    (schemas.TranscriptionStart, {"transcription_engine": "google"}, "10032", "/transcription_engine"),
    (schemas.TranscriptionStart, {"transcription_tracks": "all"}, "10032", "/transcription_tracks"),
    (schemas.TranscriptionStart, {"interim_results": "yes"}, "10026", "/interim_results"),
    # numbers
    (
        schemas.StreamingStart,
        {"stream_bidirectional_sampling_rate": 11025},
        "10032",
        "/stream_bidirectional_sampling_rate",
    ),
    (
        schemas.StreamingStart,
        {"stream_bidirectional_sampling_rate": 8000.0},
        "10026",
        "/stream_bidirectional_sampling_rate",
    ),
    (
        schemas.StreamingStart,
        {"stream_bidirectional_sampling_rate": True},
        "10026",
        "/stream_bidirectional_sampling_rate",
    ),
    (
        schemas.StreamingStart,
        {"stream_bidirectional_sampling_rate": "8k"},
        "10026",
        "/stream_bidirectional_sampling_rate",
    ),
    (schemas.Answer, {"record_max_length": -1}, "10033", "/record_max_length"),
    (schemas.Answer, {"record_max_length": 43_201}, "10033", "/record_max_length"),
    (
        schemas.Answer,
        {"deepfake_detection": {"enabled": False, "timeout": 61}},
        "10033",
        "/deepfake_detection/timeout",
    ),
    (
        schemas.Answer,
        {"webhook_retries_policies": {"call.hangup": {"retries_ms": [1] * 6}}},
        "10033",
        "/webhook_retries_policies/call.hangup/retries_ms",
    ),
    # lengths
    (schemas.CommandBody, {"command_id": "x" * 256}, "10025", "/command_id"),
    (
        schemas.CommandBody,
        {"client_state": "A" * (limits.CLIENT_STATE_CHARACTERS_MAX + 4)},
        "10025",
        "/client_state",
    ),
    (schemas.StreamingStart, {"stream_auth_token": "t" * 4001}, "10025", "/stream_auth_token"),
    (
        schemas.StreamingStart,
        {"custom_parameters": [{"name": "a", "value": "v" * 4001}]},
        "10025",
        "/custom_parameters/0/value",
    ),
    (
        schemas.StreamingStart,
        {"custom_parameters": [{"name": "a", "value": "v"}] * 101},
        "10033",
        "/custom_parameters",
    ),
    (schemas.Hangup, {"custom_headers": [{"name": "X", "value": "v"}] * 51}, "10033", "/custom_headers"),
    (
        schemas.Hangup,
        {"custom_headers": [{"name": "X-Y", "value": "v" * 1025}]},
        "10025",
        "/custom_headers/0/value",
    ),
    (schemas.Answer, {"record_custom_file_name": ""}, "10025", "/record_custom_file_name"),
    # URLs
    *(
        (schemas.StreamingStart, {"stream_url": url}, "10003", "/stream_url")
        for url in (
            "",
            "app.example",
            "http://app.example",
            "ws://",
            "ws:app.example",
            "ws:///path",
            "ws://:9000",
            "ws://h:0",
            "ws://h:65536",
            "ws://h:port",
            "ws://[::1",
            "ws://h/#fragment",
            "ws://h/a b",
            "ws://h/\r\nX-Injected: 1",
            "ws://höst/",
            "ws://h/" + "x" * 1994,
        )
    ),
    (schemas.Answer, {"webhook_url": "ws://h"}, "10003", "/webhook_url"),
    (schemas.Answer, {"webhook_urls": {"call.sneezed": "https://h"}}, "90057", "/webhook_urls"),
    (schemas.Answer, {"webhook_urls": {"call.hangup": "ws://h"}}, "10003", "/webhook_urls"),
    (schemas.Answer, {"webhook_urls": {"call.hangup": "https://h/" + "x" * 2000}}, "10003", "/webhook_urls"),
    (schemas.Answer, {"webhook_urls": {"call.hangup": 5}}, "10026", "/webhook_urls"),
    (schemas.Answer, {"webhook_urls_method": "PUT"}, "10032", "/webhook_urls_method"),
    (schemas.Answer, {"webhook_url": "h.example/hook"}, "10003", "/webhook_url"),
    # client_state
    *(
        (schemas.CommandBody, {"client_state": text}, "90017", "/client_state")
        for text in ("no base64!", "YQ", "YQ=", "YWJj\n", "aGk_", "ü")
    ),
    # targets
    *(
        (schemas.ForkStart, {"rx": target}, "10015", "/rx")
        for target in (
            "",
            "udp:",
            "udp:192.0.2.1",
            "udp:192.0.2.1:",
            "udp:192.0.2.1:0",
            "udp:192.0.2.1:65536",
            "udp:192.0.2.1:999999",
            "tcp:192.0.2.1:5000",
            "udp://192.0.2.1:5000",
            "udp:192.0.2.256:5000",
            "udp:2001:db8::1:5000",
            "udp:[2001:db8::1]5000",
            "udp:[2001:db8::zz]:5000",
            "udp:[fe80::1%eth0]:5000",
            "udp:[192.0.2.1]x:5000",
            "udp:0.0.0.0:5000",
            "udp:[::]:5000",
            "udp:192.0.2.1:50\u0661",
            "udp:-host-:5000",
            "udp:192.0.2.1:5000 ",
        )
    ),
    (schemas.ForkStart, {"tx": 5000}, "10026", "/tx"),
    # headers
    (schemas.Hangup, {"custom_headers": [{"name": "Via", "value": "x"}]}, "10015", "/custom_headers/0/name"),
    (schemas.Hangup, {"custom_headers": [{"name": "X Y", "value": "x"}]}, "10015", "/custom_headers/0/name"),
    (
        schemas.Hangup,
        {"custom_headers": [{"name": "X-Y", "value": "x\r\nVia: y"}]},
        "10015",
        "/custom_headers/0/value",
    ),
    (schemas.Hangup, {"custom_headers": [{"name": "X-Y"}]}, "10004", "/custom_headers/0/value"),
    (schemas.Hangup, {"custom_headers": {"X-Y": "z"}}, "10026", "/custom_headers"),
    (schemas.Hangup, {"custom_headers": [1]}, "10026", "/custom_headers/0"),
    (schemas.Hangup, {"reason": 'a "quote"'}, "10015", "/reason"),
    (schemas.Hangup, {"reason": "\U0001f600"}, "10015", "/reason"),
    (schemas.Hangup, {"reason": "r" * 1025}, "10025", "/reason"),
    (schemas.StreamingStart, {"stream_auth_token": "a\r\nb"}, "10015", "/stream_auth_token"),
    (schemas.StreamingStart, {"stream_auth_token": "tokén"}, "10015", "/stream_auth_token"),
    (schemas.Answer, {"preferred_codecs": "PCMU,OPUS2"}, "10032", "/preferred_codecs"),
    (schemas.Answer, {"preferred_codecs": ["PCMU"]}, "10026", "/preferred_codecs"),
]


@pytest.mark.parametrize(("model", "members", "code", "pointer"), REFUSED)
def test_a_bad_value_is_refused_with_its_code_at_its_pointer(
    model: type[Any], members: dict[str, Any], code: str, pointer: str
) -> None:
    assert (code, pointer) in refused(model, **members)


def test_every_bad_field_is_told_at_once_up_to_a_bound() -> None:
    assert refused(schemas.StreamingStart, stream_url="x", stream_track="y") == [
        ("10003", "/stream_url"),
        ("10032", "/stream_track"),
    ]
    many = refused(schemas.Hangup, custom_headers=[{}] * 50)
    assert len(many) == limits.PROBLEMS_PER_ANSWER_MAX


def test_a_pointer_is_escaped_and_short_whatever_the_client_names_its_members() -> None:
    found = refused(schemas.Answer, webhook_retries_policies={"a/b~" + "c" * 500: 1})
    assert found[0][1] is not None
    assert found[0][1].startswith("/webhook_retries_policies/a~1b~0ccc")
    assert len(found[0][1]) < 120


@pytest.mark.parametrize(
    ("model", "members"),
    [
        (schemas.StreamingStart, {"stream_url": "http://u:s3cret@h"}),
        (schemas.StreamingStart, {"stream_auth_token": "s3cret\n"}),
        (schemas.StreamingStart, {"stream_auth_token": ["s3cret"]}),
        (schemas.StreamingStart, {"stream_track": "s3cret"}),
        (schemas.CommandBody, {"client_state": "s3cret!"}),
        (schemas.ForkStart, {"rx": "s3cret"}),
    ],
)
def test_an_error_never_repeats_the_value(model: type[Any], members: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(members)
    assert "s3cret" not in json.dumps(envelope(problems_of(caught.value), 422)) + str(caught.value)


def test_the_envelope_is_telnyxs() -> None:
    with pytest.raises(ValidationError) as caught:
        schemas.Reject.model_validate({})
    assert envelope(problems_of(caught.value), 422) == {
        "errors": [
            {
                "code": "10004",
                "title": "Missing required parameter",
                "detail": "The parameter `cause` is required.",
                "source": {"pointer": "/cause"},
                "meta": {"url": ERROR_URL + "10004"},
            }
        ]
    }


def test_our_parameters_are_those_of_telnyxs_specification(telnyx_parameters: dict[str, Any]) -> None:
    """Names, enums and required fields, from the published specification (not from our code)."""
    for action in ACTIONS:
        published = telnyx_parameters[f"{action.method} /calls/{{call_control_id}}/actions/{action.name}"]
        ours = action.body.model_json_schema(ref_template="{model}")
        definitions = ours.get("$defs", {})
        assert set(published["properties"]) <= set(ours["properties"]), action.name
        assert set(published.get("required", ())) == set(ours.get("required", ())), action.name
        for name, schema in published["properties"].items():
            if (
                "enum" in schema
                and (action.name, name) not in (("speak", "language"), ("gather_using_speak", "language"))
                and name not in ("preferred_codecs", "transcription_language")
            ):
                allowed = _enum(ours["properties"][name], definitions)
                assert set(schema["enum"]) <= allowed, (action.name, name)
            if "default" in schema and name not in ("transcription_engine", "stream_type"):
                assert ours["properties"][name]["default"] == schema["default"], (action.name, name)


def _enum(schema: dict[str, Any], definitions: dict[str, Any]) -> set[Any]:
    found = set(schema.get("enum", ()))
    if "const" in schema:
        found.add(schema["const"])
    if schema.get("type") == "integer":  # checked by a validator, not by the schema
        found |= {8000, 16000, 22050, 24000, 48000}
    for part in schema.get("anyOf", ()):
        found |= _enum(part, definitions)
    return found
