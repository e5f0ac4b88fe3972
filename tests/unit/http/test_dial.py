"""What a dial may ask for, and what it is refused for."""

from typing import Any

import pytest
from pydantic import ValidationError

from offhook.base.errors import OffhookError
from offhook.call import commands as domain
from offhook.call.values import Header, WebhookWishes
from offhook.edge.http.commands import Rules, dial
from offhook.edge.http.problems import Refusal, problems_of
from offhook.edge.http.schemas import Dial

pytestmark = pytest.mark.unit

BASE = {"connection_id": "1", "to": "+15550100002", "from": "+15550100001"}
URL = "ws://app.example/media"


def public_only(ip: str) -> None:
    if ip.startswith("127."):
        raise OffhookError("private")


def build(ignore_unsupported: bool = False, **members: Any) -> domain.Dial:
    rules = Rules(check_ip=public_only, ignore_unsupported=ignore_unsupported)
    return dial(Dial.model_validate({**BASE, **members}), rules)


def refused(members: dict[str, Any], ignore_unsupported: bool = False) -> list[tuple[str, str | None]]:
    try:
        build(ignore_unsupported, **members)
    except ValidationError as error:
        problems = problems_of(error)
    except Refusal as refusal:
        problems = list(refusal.problems)
    else:
        return []
    return [(problem.code, problem.pointer) for problem in problems]


def test_a_plain_dial_has_the_documented_defaults() -> None:
    plan = build()
    assert plan == domain.Dial(connection_id="1", to=("+15550100002",), caller="+15550100001")
    assert (plan.timeout_s, plan.time_limit_s, plan.retry_on_timeout) == (30.0, 14_400.0, True)


def test_every_parameter_reaches_the_plan() -> None:
    plan = build(
        to=["sip:a@pbx.example", "sip:b@pbx.example", "sip:a@pbx.example"],
        from_display_name="Shop 1",
        timeout_secs=5,
        time_limit_secs=30,
        retry_on_timeout=False,
        link_to="v3:other",
        sip_transport_protocol="TCP",
        sip_auth_username="us",
        sip_auth_password="secret",
        privacy="id",
        diversion="+15550100009",
        send_digits_on_answer="1w#",
        preferred_codecs="G722,PCMU",
        custom_headers=[{"name": "X-A", "value": "1"}],
        send_silence_when_idle=True,
        webhook_url="https://app.example/hook",
        webhook_urls={"call.hangup": "https://app.example/end"},
        webhook_urls_method="GET",
        stream_url=URL,
        stream_bidirectional_mode="rtp",
        transcription=True,
        client_state="eA==",
        command_id="id-1",
    )
    assert plan == domain.Dial(
        connection_id="1",
        to=("sip:a@pbx.example", "sip:b@pbx.example"),
        caller="+15550100001",
        caller_name="Shop 1",
        timeout_s=5.0,
        time_limit_s=30.0,
        retry_on_timeout=False,
        link_to="v3:other",
        transport=domain.Transport.TCP,
        username="us",
        password="secret",
        hide_caller=True,
        digits="1w#",
        preferred_codecs=("G722", "PCMU"),
        headers=(Header("X-A", "1"), Header("Diversion", "<tel:+15550100009>")),
        silence_when_idle=True,
        webhooks=WebhookWishes(
            "https://app.example/hook", urls={"call.hangup": "https://app.example/end"}, urls_method="GET"
        ),
        stream=domain.StreamOptions(url=URL, app_codec="PCMU"),
        transcription=domain.TranscriptionOptions(),
        client_state="eA==",
        command_id="id-1",
    )
    assert "secret" not in repr(plan)


def test_keys_may_follow_the_number() -> None:
    plan = build(to="+15550100002,12w3")
    assert (plan.to, plan.digits) == (("+15550100002",), "12w3")
    assert build(to="+15550100002,12w3", send_digits_on_answer="9").digits == "9"


@pytest.mark.parametrize(
    "to",
    [
        "+15550100002",
        "101",
        "*98",
        "sip:a@pbx.example",
        "SIP:a@[2001:db8::1]:5070;transport=tcp",
        "sip:pbx.example",
    ],
)
def test_numbers_extensions_and_sip_uris_can_be_called(to: str) -> None:
    assert build(to=to).to == (to,)


@pytest.mark.parametrize("caller", ["+15550100001", "alice", "sip:alice@pbx.example", "100"])
def test_numbers_and_names_can_call(caller: str) -> None:
    assert build(**{"from": caller}).caller == caller


@pytest.mark.parametrize(
    ("members", "code", "pointer"),
    [
        ({"to": "carol"}, "10016", "/to"),
        ({"to": ""}, "10016", "/to"),
        ({"to": 5}, "10026", "/to"),
        ({"to": ["+15550100002", 5]}, "10026", "/to"),
        ({"to": []}, "10033", "/to"),
        ({"to": [f"+1555010{number:04}" for number in range(17)]}, "10033", "/to"),
        ({"to": "+1 555 010"}, "10016", "/to"),
        ({"to": "tel:+15550100002"}, "10016", "/to"),
        ({"to": "sip:a@pbx.example>\r\nX: y"}, "10016", "/to"),
        ({"to": "sip:a@pbx.example?Replaces=x"}, "10016", "/to"),
        ({"to": "sip:" + "a" * 3000 + "@pbx.example"}, "10016", "/to"),
        ({"to": "+15550100002,x"}, "90014", "/to"),
        ({"to": "+15550100002,"}, "90014", "/to"),
        ({"to": ["+15550100002,1", "+15550100003"]}, "90014", "/to"),
        ({"to": "sip:a@127.0.0.1"}, "10015", "/to"),
        ({"to": "sip:a@pbx.example;secure=srtp"}, "10038", "/to"),
        ({"to": "sip:a@pbx.example;transport=tls"}, "10038", "/to"),
        ({"from": "no body"}, "10016", "/from"),
        ({"from": "a\r\nX: y"}, "10016", "/from"),
        ({"from_display_name": 'A"B'}, "10015", "/from_display_name"),
        ({"from_display_name": "x" * 129}, "10025", "/from_display_name"),
        ({"timeout_secs": 4}, "10033", "/timeout_secs"),
        ({"timeout_secs": 601}, "10033", "/timeout_secs"),
        ({"timeout_secs": "30"}, "10026", "/timeout_secs"),
        ({"time_limit_secs": 29}, "10033", "/time_limit_secs"),
        ({"privacy": "all"}, "10032", "/privacy"),
        ({"diversion": "101"}, "10016", "/diversion"),
        ({"send_digits_on_answer": "1x"}, "90014", "/send_digits_on_answer"),
        ({"send_digits_on_answer": "1" * 65}, "90014", "/send_digits_on_answer"),
        ({"sip_auth_username": ""}, "10025", "/sip_auth_username"),
        ({"sip_auth_password": "a\nb"}, "10015", "/sip_auth_password"),
        ({"custom_headers": [{"name": "Authorization", "value": "x"}]}, "10015", "/custom_headers/0/name"),
        ({"webhook_urls": {"call.nonsense": "https://a.example"}}, "90057", "/webhook_urls"),
    ],
)
def test_a_value_that_cannot_be_is_refused(members: dict[str, Any], code: str, pointer: str) -> None:
    assert refused(members) == [(code, pointer)]


@pytest.mark.parametrize("missing", ["connection_id", "to", "from"])
def test_a_required_parameter_is_named(missing: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Dial.model_validate({name: value for name, value in BASE.items() if name != missing})
    [problem] = problems_of(caught.value)
    assert (problem.code, problem.pointer) == ("10004", f"/{missing}")


LATER = {
    "supervise_call_control_id": "v3:x",
    "conference_config": {"conference_name": "x"},
    "answering_machine_detection": "detect",
    "assistant": {"id": "x"},
}


@pytest.mark.parametrize("early", [True, False])
def test_the_stream_may_be_opened_before_the_call(early: bool) -> None:
    body = Dial.model_validate(
        {**BASE, "stream_url": "wss://app.example/", "stream_establish_before_call_originate": early}
    )
    assert dial(body, Rules(check_ip=public_only)).stream_first is early


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"audio_url": "https://a.example/x.wav"}, domain.PlaybackOptions(url="https://a.example/x.wav")),
        ({"media_name": "hello"}, domain.PlaybackOptions(name="hello")),
        ({}, None),
    ],
)
def test_the_called_may_hear_a_sound(
    members: dict[str, Any], expected: domain.PlaybackOptions | None
) -> None:
    rules = Rules(check_ip=public_only, has_sound_folder=True)
    assert dial(Dial.model_validate({**BASE, **members}), rules).playback == expected


def test_the_sound_of_a_dial_has_one_source() -> None:
    assert refused({"audio_url": "https://a.example/x.wav", "media_name": "x"}) == [("10015", "/media_name")]
    assert refused({"audio_url": "file:///etc/passwd"}) == [("10003", "/audio_url")]
    assert refused({"media_name": "x"}) == [("10038", "/media_name")]


@pytest.mark.parametrize("name", LATER)
def test_what_is_not_done_is_refused_by_name_or_ignored_if_so_set(name: str) -> None:
    assert refused({name: LATER[name]}) == [("10038", f"/{name}")]
    assert refused({name: LATER[name]}, ignore_unsupported=True) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("media_encryption", "SRTP"), ("media_encryption", "DTLS"), ("sip_transport_protocol", "TLS")],
)
def test_secrecy_that_is_not_there_is_never_ignored(name: str, value: str) -> None:
    assert refused({name: value}) == [("10038", f"/{name}")]
    assert refused({name: value}, ignore_unsupported=True) == [("10038", f"/{name}")]
