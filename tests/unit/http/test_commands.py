"""From parameters to commands: our words, defaults, and what is refused until a later version."""

from typing import Any

import pytest

from offhook.base.errors import OffhookError
from offhook.call import commands as domain
from offhook.call.values import Header, TargetLegs, Track, UdpTarget, WebhookWishes
from offhook.edge.http.commands import ACTIONS, Rules
from offhook.edge.http.problems import Refusal

pytestmark = pytest.mark.unit

URL = "wss://app.example/media"
ACTION = {action.name: action for action in ACTIONS}


def public_only(ip: str) -> None:
    if ip.startswith(("127.", "10.")):
        raise OffhookError("private")


RULES = Rules(check_ip=public_only, engines_refused=frozenset({"Azure"}))


def build(name: str, rules: Rules = RULES, **members: Any) -> Any:
    action = ACTION[name]
    return action.build(action.body.model_validate(members), rules)


def refusals(name: str, rules: Rules = RULES, **members: Any) -> list[tuple[str, str | None]]:
    with pytest.raises(Refusal) as refused:
        build(name, rules, **members)
    assert refused.value.status == 422
    return [(problem.code, problem.pointer) for problem in refused.value.problems]


def test_every_command_carries_client_state_and_command_id() -> None:
    extra = {"reject": {"cause": "USER_BUSY"}, "streaming_start": {"stream_url": URL}}
    extra["fork_start"] = {"target": "udp:192.0.2.1:5000"}
    extra["send_dtmf"] = {"digits": "1"}
    extra["send_sip_info"] = {"content_type": "text/plain", "body": "hi"}
    extra["refer"] = {"sip_address": "sip:desk@pbx.example"}
    extra["gather_using_audio"] = {"audio_url": "https://app.example/hello.wav"}
    extra["gather_using_speak"] = {"payload": "Hello.", "voice": "female"}
    extra["speak"] = {"payload": "Hello.", "voice": "female"}
    extra["bridge"] = {"call_control_id": "v3:other"}
    extra["transfer"] = {"to": "+15550100002"}
    extra["playback_start"] = {"audio_url": "https://app.example/hello.wav"}
    extra["record_start"] = {"format": "mp3", "channels": "single"}
    for name in ACTION:
        command = build(name, client_state="YQ==", command_id="id-1", **extra.get(name, {}))
        assert (command.client_state, command.command_id) == ("YQ==", "id-1"), name


def test_an_empty_command_id_is_none_because_it_tells_nothing_apart() -> None:
    assert build("hangup", command_id="").command_id is None


@pytest.mark.parametrize(
    ("track", "tracks"),
    [
        ("inbound_track", (Track.RX,)),
        ("outbound_track", (Track.TX,)),
        ("both_tracks", (Track.RX, Track.TX)),
    ],
)
def test_a_streams_track_becomes_rx_and_tx(track: str, tracks: tuple[Track, ...]) -> None:
    assert build("streaming_start", stream_url=URL, stream_track=track).stream.tracks == tracks


def test_a_stream_has_telnyxs_defaults() -> None:
    assert build("streaming_start", stream_url=URL) == domain.StartStream(
        stream=domain.StreamOptions(url=URL, tracks=(Track.RX,), codec=None, app_codec="MP3")
    )


def test_a_stream_carries_all_that_was_asked_for() -> None:
    stream = build(
        "streaming_start",
        stream_url=URL,
        stream_codec="PCMA",
        stream_auth_token="token",
        custom_parameters=[{"name": "a", "value": "1"}, {"name": "b", "value": "2"}],
    ).stream
    assert stream == domain.StreamOptions(
        url=URL,
        codec="PCMA",
        app_codec="MP3",
        auth_token="token",
        custom_parameters=(("a", "1"), ("b", "2")),
    )


@pytest.mark.parametrize("wanted", [True, False])
def test_a_stream_may_be_kept_from_reconnecting(wanted: bool) -> None:
    assert build("streaming_start", stream_url=URL, enable_reconnect=wanted).stream.reconnect is wanted
    assert build("answer", stream_url=URL, enable_reconnect=wanted).stream.reconnect is wanted


def test_defaults_sent_explicitly_change_nothing() -> None:
    explicit = build(
        "streaming_start",
        stream_url=URL,
        stream_track="inbound_track",
        stream_codec="default",
        stream_bidirectional_mode="mp3",
        stream_bidirectional_codec="PCMU",
        stream_bidirectional_target_legs="opposite",
        stream_auth_token="",
        enable_dialogflow=False,
        enable_reconnect=True,
        custom_parameters=[],
    )
    assert explicit == build("streaming_start", stream_url=URL)


@pytest.mark.parametrize("command", ["streaming_start", "answer"])
@pytest.mark.parametrize(
    ("stream_codec", "spoken", "rate_hz"),
    [
        ("default", "PCMU", 16000),
        ("default", "G722", "48000"),
        ("default", "OPUS", 22050),
        ("default", "AMR-WB", 24000),
        ("OPUS", "PCMA", 22050),
        ("AMR-WB", None, 48000),
    ],
)
def test_a_rate_that_no_codec_has_is_refused(
    command: str, stream_codec: str, spoken: str | None, rate_hz: object
) -> None:
    speaks = {"stream_bidirectional_mode": "rtp", "stream_bidirectional_codec": spoken} if spoken else {}
    asked = {"stream_codec": stream_codec, "stream_bidirectional_sampling_rate": rate_hz, **speaks}
    assert refusals(command, stream_url=URL, **asked) == [("10032", "/stream_bidirectional_sampling_rate")]


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "OPUS", "AMR-WB", "L16"])
def test_the_default_rate_is_good_for_every_codec(codec: str) -> None:
    for asked in ({"stream_codec": codec}, {"stream_bidirectional_codec": codec}):
        members = {"stream_bidirectional_mode": "rtp", "stream_bidirectional_sampling_rate": 8000, **asked}
        assert build("streaming_start", stream_url=URL, **members).stream.sample_rate_hz == 8000


def test_a_rate_of_one_codec_does_not_trouble_the_other() -> None:
    members = {"stream_bidirectional_mode": "rtp", "stream_bidirectional_codec": "L16"}
    asked = build(
        "streaming_start",
        stream_url=URL,
        stream_codec="PCMU",
        stream_bidirectional_sampling_rate=24000,
        **members,
    )
    assert asked.stream.sample_rate_hz == 24000
    listening = build("streaming_start", stream_url=URL, stream_bidirectional_sampling_rate=16000)
    assert listening.stream.codec is None


@pytest.mark.parametrize("legs", ["self", "opposite", "both"])
@pytest.mark.parametrize(
    ("codec", "rate_hz"),
    [
        ("PCMU", 8000),
        ("PCMA", "8000"),
        ("G722", 16000),
        ("OPUS", 24000),
        ("OPUS", "48000"),
        ("AMR-WB", 16000),
        ("L16", 8000),
        ("L16", 22050),
        ("L16", 48000),
        ("L16", "16000"),
    ],
)
def test_an_app_may_speak(codec: str, rate_hz: object, legs: str) -> None:
    asked = {
        "stream_bidirectional_mode": "rtp",
        "stream_bidirectional_codec": codec,
        "stream_bidirectional_sampling_rate": rate_hz,
        "stream_bidirectional_target_legs": legs,
    }
    command = build("streaming_start", stream_url=URL, **asked)
    assert (command.stream.app_codec, command.stream.sample_rate_hz) == (codec, int(str(rate_hz)))
    assert command.stream.target_legs is TargetLegs(legs)


def test_an_app_speaks_mp3_unless_the_mode_says_otherwise() -> None:
    for codec in ("PCMU", "L16", "OPUS"):
        command = build("streaming_start", stream_url=URL, stream_bidirectional_codec=codec)
        assert command.stream.app_codec == "MP3"


def test_linear_audio_to_the_app_has_the_rate_asked_for() -> None:
    command = build(
        "streaming_start", stream_url=URL, stream_codec="L16", stream_bidirectional_sampling_rate=16000
    )
    assert (command.stream.codec, command.stream.sample_rate_hz) == ("L16", 16000)


@pytest.mark.parametrize("command", ["streaming_start", "answer"])
def test_an_agent_needs_no_url_and_may_have_an_app_beside_it(command: str) -> None:
    config = {"analyze_sentiment": True, "partial_automated_agent_reply": True, "language_code": "de"}
    alone = build(command, enable_dialogflow=True, stream_track="both_tracks", dialogflow_config=config)
    assert alone.stream is None
    assert alone.dialogflow == domain.DialogflowOptions(
        tracks=(Track.RX, Track.TX), language="de", analyze_sentiment=True, partial_replies=True
    )
    beside = build(command, enable_dialogflow=True, stream_url=URL)
    assert beside.stream is not None
    assert beside.dialogflow == domain.DialogflowOptions()
    assert build(command, stream_url=URL, dialogflow_config=config).dialogflow is None


def test_a_stream_needs_its_url() -> None:
    assert refusals("streaming_start", stream_track="both_tracks") == [("10004", "/stream_url")]


def test_a_stream_is_stopped_by_its_id_in_either_case() -> None:
    stream_id = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"
    assert build("streaming_stop", stream_id=stream_id).stream_id == stream_id.lower()
    assert build("streaming_stop").stream_id is None


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("udp:192.0.2.1:5000", UdpTarget("192.0.2.1", 5000)),
        ("192.0.2.1:5000", UdpTarget("192.0.2.1", 5000)),
        ("UDP:192.0.2.1:5000", UdpTarget("192.0.2.1", 5000)),
        ("udp:[2001:DB8:0::1]:65535", UdpTarget("2001:db8::1", 65535)),
        ("udp:[::ffff:192.0.2.1]:1", UdpTarget("192.0.2.1", 1)),
    ],
)
def test_a_fork_target_is_an_address_and_a_port(text: str, target: UdpTarget) -> None:
    assert build("fork_start", rx=text, tx=text).rx == target


def test_a_fork_has_rx_and_tx_or_a_target() -> None:
    one = "udp:192.0.2.1:5000"
    two = "udp:192.0.2.1:5002"
    assert build("fork_start", rx=one, tx=two) == domain.StartFork(
        rx=UdpTarget("192.0.2.1", 5000), tx=UdpTarget("192.0.2.1", 5002)
    )
    assert build("fork_start", target=one, stream_type="raw") == domain.StartFork(
        target=UdpTarget("192.0.2.1", 5000), fork_type=domain.ForkType.RAW
    )
    assert refusals("fork_start") == [("10004", "/rx")]
    assert refusals("fork_start", tx=one) == [("10004", "/rx")]
    assert refusals("fork_start", rx=one) == [("10004", "/tx")]
    assert refusals("fork_start", rx=one, tx=one, target=one) == [("10015", "/target")]


@pytest.mark.parametrize("name", ["rx", "tx"])
def test_a_fork_goes_only_where_the_egress_policy_lets_it(name: str) -> None:
    targets = {"rx": "udp:192.0.2.1:1", "tx": "udp:192.0.2.1:2"}
    for private in ("udp:127.0.0.1:9", "udp:[::ffff:10.0.0.1]:9"):
        with pytest.raises(Refusal) as refused:
            build("fork_start", **(targets | {name: private}))
        [problem] = refused.value.problems
        assert (problem.code, problem.pointer) == ("10015", f"/{name}")
        assert f"`{name}`" in problem.detail
        assert "OFFHOOK_ALLOW_PRIVATE_EGRESS" in problem.detail
    assert refusals("fork_start", target="udp:127.0.0.1:9") == [("10015", "/target")]


def test_fork_targets_are_addresses_not_host_names() -> None:
    assert refusals("fork_start", target="udp:Media.example:9") == [("10015", "/target")]


def test_stopping_forks_without_a_type_means_all_of_them() -> None:
    assert build("fork_stop").fork_type is None
    assert build("fork_stop", stream_type="raw").fork_type is domain.ForkType.RAW


@pytest.mark.parametrize("cause", list(domain.RejectCause))
def test_a_reject_carries_its_cause(cause: domain.RejectCause) -> None:
    assert build("reject", cause=cause.value) == domain.Reject(cause=cause)


def test_a_hangup_carries_its_headers() -> None:
    command = build("hangup", custom_headers=[{"name": "X-Why", "value": "done"}], reason="bye")
    assert command == domain.Hangup(headers=(Header("X-Why", "done"),), reason="bye")


def test_a_plain_answer_asks_for_nothing_more() -> None:
    assert build("answer") == domain.Answer()


def test_an_answer_carries_all_that_was_asked_for() -> None:
    assert build(
        "answer",
        preferred_codecs="pcma,OPUS,PCMA",
        custom_headers=[{"name": "X-A", "value": "1"}],
        sip_headers=[{"name": "User-to-User", "value": "00"}],
        send_silence_when_idle=True,
        webhook_url="https://app.example/hook",
        webhook_url_method="GET",
        webhook_urls={"call.hangup": "https://app.example/end"},
        webhook_retries_policies={"call.hangup": {"retries_ms": [250, 1000]}},
        stream_url=URL,
        stream_track="both_tracks",
        stream_auth_token="token",
        custom_parameters=[{"name": "a", "value": "1"}],
        transcription=True,
        transcription_config={"transcription_engine": "Telnyx", "transcription_tracks": "both"},
        billing_group_id="f5586561-8ff0-4291-a0ac-84fe544797bd",
    ) == domain.Answer(
        preferred_codecs=("PCMA", "OPUS"),
        headers=(Header("User-to-User", "00"), Header("X-A", "1")),
        silence_when_idle=True,
        webhooks=WebhookWishes(
            "https://app.example/hook",
            "GET",
            {"call.hangup": "https://app.example/end"},
            "POST",
            {"call.hangup": (0.25, 1.0)},
        ),
        stream=domain.StreamOptions(
            url=URL,
            tracks=(Track.RX, Track.TX),
            app_codec="MP3",
            auth_token="token",
            custom_parameters=(("a", "1"),),
        ),
        transcription=domain.TranscriptionOptions(engine="Telnyx", tracks=(Track.RX, Track.TX)),
    )


def test_transcription_on_answer_needs_the_switch_and_no_configuration() -> None:
    assert build("answer", transcription=True).transcription == domain.TranscriptionOptions()
    assert build("answer", transcription_config={"language": "en"}).transcription is None


def test_a_wrong_transcription_configuration_is_told_where_it_stands() -> None:
    assert refusals("answer", transcription=True, transcription_config={"language": "tlh"}) == [
        ("10032", "/transcription_config/language")
    ]
    config = {"transcription_engine": "Telnyx", "transcription_engine_config": {"transcription_model": "x"}}
    assert refusals("answer", transcription_config=config) == [
        ("10032", "/transcription_config/transcription_engine_config/transcription_model")
    ]


@pytest.mark.parametrize(
    "members",
    [
        {"record_channels": "single", "record_max_length": 60, "record_trim": "trim-silence"},
        {"webhook_urls": {}, "webhook_retries_policies": {}, "webhook_url_method": "POST"},
        {"deepfake_detection": {"enabled": False}, "sound_modifications": {"pitch": 0, "track": "outbound"}},
        {"assistant": {}, "conversation_relay_config": {}, "webhook_urls_method": "POST"},
    ],
)
def test_features_of_later_versions_that_are_off_are_harmless(members: dict[str, Any]) -> None:
    assert build("answer", **members) == domain.Answer()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sound_modifications", {"semitone": -2}),
        ("deepfake_detection", {"enabled": True}),
        ("assistant", {"id": "assistant-1"}),
        ("conversation_relay_config", {"url": "wss://app.example"}),
    ],
)
def test_features_of_later_versions_that_are_on_are_refused_by_name(field: str, value: object) -> None:
    assert refusals("answer", **{field: value}) == [("10038", f"/{field}")]


def test_retry_policies_are_for_known_events() -> None:
    policies = {"call.sneezed": {"retries_ms": [1]}}
    assert refusals("answer", webhook_retries_policies=policies) == [("90057", "/webhook_retries_policies")]


@pytest.mark.parametrize("retries", [[-1], [30_000, 30_001]])
def test_retry_policies_are_bounded(retries: list[int]) -> None:
    policy = {"call.hangup": {"retries_ms": retries}}
    assert refusals("answer", webhook_retries_policies=policy) == [("10033", "/webhook_retries_policies")]


def test_an_engine_that_is_switched_off_is_refused() -> None:
    azure = {"transcription_engine": "Azure"}
    assert refusals("transcription_start", **azure) == [("10032", "/transcription_engine")]
    assert refusals("answer", transcription_config=azure) == [
        ("10032", "/transcription_config/transcription_engine")
    ]


@pytest.mark.parametrize(("asked", "silence"), [({}, True), ({"send_silence_when_idle": False}, False)])
def test_the_installation_decides_on_silence_where_the_app_does_not(
    asked: dict[str, bool], silence: bool
) -> None:
    rules = Rules(check_ip=public_only, silence_when_idle=True)
    assert build("answer", rules, **asked).silence_when_idle is silence
    assert build("answer").silence_when_idle is False


def test_features_of_later_versions_are_ignored_where_the_operator_says_so() -> None:
    rules = Rules(check_ip=public_only, ignore_unsupported=True)
    asked = {"sound_modifications": {"pitch": 0.5}, "assistant": {"id": "x"}}
    assert build("answer", rules, **asked) == build("answer")
