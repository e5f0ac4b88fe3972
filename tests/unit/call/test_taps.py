"""Streams, forks and transcriptions of a leg (contract 2.1, 3.4, 4.2, 4.7)."""

from itertools import permutations

import pytest

from offhook.base import limits
from offhook.base.clock import iso_time
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.errors import CommandError
from offhook.call.tap_commands import Compat
from offhook.call.values import LegState, TargetLegs, Track, UdpTarget, WebhookRoute
from tests.fakes.legs import (
    URL,
    Desk,
    answered,
    kinds,
    memory,
    payload,
    start_fork,
    start_stream,
    start_transcription,
    told,
    transcript,
)

pytestmark = pytest.mark.unit


def refused(desk: Desk, command: ask.Command) -> tuple[str, str | None]:
    before = memory(desk.leg)
    with pytest.raises(CommandError) as refusal:
        desk.leg.command(command, desk.now)
    assert memory(desk.leg) == before
    return refusal.value.problem.code, refusal.value.problem.pointer


def streaming() -> Desk:
    desk = answered()
    desk.command(start_stream())
    desk.tell(facts.StreamConnected("id-1"))
    return desk


def forking() -> Desk:
    desk = answered()
    desk.command(start_fork())
    desk.tell(facts.ForkOpened("id-1"))
    return desk


# Streams


def test_a_stream_opens_with_what_its_frames_will_say() -> None:
    desk = answered()
    desk.leg._context.client_state = "eA=="
    command = start_stream(
        tracks=(Track.RX, Track.TX), codec="PCMA", auth_token="t", custom_parameters=(("a", "b"),)
    )
    reply, effects = desk.command_for_reply(command)
    assert reply == ask.Reply({"result": "ok", "stream_id": "id-1"})
    assert effects == [
        do.OpenStream(
            stream_id="id-1",
            url=URL,
            tracks=(Track.RX, Track.TX),
            codec="PCMA",
            sample_rate_hz=8000,
            app_codec=None,
            app_sample_rate_hz=8000,
            auth_token="t",
            start={
                "user_id": "user-uuid",
                "call_control_id": "v3:leg",
                "call_session_id": "session-uuid",
                "from": "+15550001111",
                "to": "+15550002222",
                "tags": [],
                "client_state": "eA==",
                "custom_parameters": {"a": "b"},
                "media_format": {"encoding": "PCMA", "sample_rate": 8000, "channels": 1},
                "call_leg_id": "leg-uuid",
                "connection_id": "1000000000000000001",
                "direction": "incoming",
                "tracks": ["inbound", "outbound"],
            },
            app_heard="opposite",
            stop={"user_id": "user-uuid", "call_control_id": "v3:leg"},
        )
    ]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_stream_reconnects_unless_it_was_asked_not_to(wanted: bool) -> None:
    (effect,) = answered().command(start_stream(reconnect=wanted))
    assert isinstance(effect, do.OpenStream)
    assert effect.reconnect is wanted


@pytest.mark.parametrize(
    ("codec", "encoding", "rate_hz"),
    [(None, "PCMU", 8000), ("G722", "G722", 8000), ("L16", "L16", 8000), ("OPUS", "OPUS", 16000)],
)
def test_media_format_tells_the_truth(codec: str | None, encoding: str, rate_hz: int) -> None:
    (effect,) = answered().command(start_stream(codec=codec))
    assert isinstance(effect, do.OpenStream)
    assert effect.start["media_format"] == {"encoding": encoding, "sample_rate": rate_hz, "channels": 1}
    assert (effect.codec, effect.sample_rate_hz) == (encoding, rate_hz)


@pytest.mark.parametrize(
    ("codec", "app_codec", "asked_hz", "to_app", "from_app"),
    [
        (None, "PCMU", 8000, ("PCMU", 8000), ("PCMU", 8000)),
        (None, "PCMA", 8000, ("PCMU", 8000), ("PCMA", 8000)),
        (None, "L16", 16000, ("L16", 16000), ("L16", 16000)),
        ("default", "L16", 8000, ("L16", 8000), ("L16", 8000)),
        ("PCMA", "L16", 16000, ("PCMA", 8000), ("L16", 16000)),
        ("L16", "PCMU", 16000, ("L16", 16000), ("PCMU", 8000)),
        ("L16", None, 16000, ("L16", 16000), (None, 16000)),
        (None, None, 16000, ("PCMU", 8000), (None, 8000)),
    ],
)
def test_who_speaks_linear_hears_linear_unless_asked_otherwise(
    codec: str | None,
    app_codec: str | None,
    asked_hz: int,
    to_app: tuple[str, int],
    from_app: tuple[str | None, int],
) -> None:
    given = None if codec == "default" else codec
    command = start_stream(codec=given, app_codec=app_codec, sample_rate_hz=asked_hz)
    (effect,) = answered().command(command)
    assert isinstance(effect, do.OpenStream)
    assert (effect.codec, effect.sample_rate_hz) == to_app
    assert (effect.app_codec, effect.app_sample_rate_hz) == from_app
    told = effect.start["media_format"]
    assert told == {"encoding": to_app[0], "sample_rate": to_app[1], "channels": 1}


def test_a_call_has_one_stream_whose_app_may_speak() -> None:
    desk = answered()
    desk.command(start_stream(app_codec="PCMU"))
    assert refused(desk, start_stream(app_codec="PCMU")) == ("90045", "/stream_bidirectional_mode")
    for _ in range(limits.STREAMS_PER_LEG_MAX - 1):
        desk.command(start_stream())
    assert refused(desk, start_stream()) == ("90045", None)


def test_a_stopped_stream_makes_room_for_the_next_that_speaks() -> None:
    desk = answered()
    desk.command(start_stream(app_codec="PCMU"))
    desk.command(ask.StopStream(stream_id="id-1"))
    desk.command(start_stream(app_codec="L16"))


def test_streaming_started_comes_before_the_start_frame_and_after_the_socket() -> None:
    desk = answered()
    desk.command(start_stream(tracks=(Track.TX,)))
    effects = desk.tell(facts.StreamConnected("id-1"))
    assert kinds(effects) == [do.Notify, do.BeginStream]
    started = payload(effects, "streaming.started")
    assert (started["stream_id"], started["stream_url"]) == ("id-1", URL)
    assert started["stream_track"] == "outbound_track"
    assert desk.tell(facts.StreamConnected("id-1")) == []


def test_a_stream_that_the_app_closes_is_stopped() -> None:
    desk = streaming()
    effects = desk.tell(facts.StreamClosed("id-1", "app_closed"))
    assert told(effects) == ["streaming.stopped"]
    assert payload(effects, "streaming.stopped")["stream_id"] == "id-1"
    assert refused(desk, ask.StopStream()) == ("90048", None)


def test_a_stream_that_is_lost_has_failed() -> None:
    effects = streaming().tell(facts.StreamFailed("id-1", "connection_lost", "reset by peer"))
    assert told(effects) == ["streaming.failed"]
    failed = payload(effects, "streaming.failed")
    assert failed["failure_reason"] == "connection_lost"


def test_a_stream_that_cannot_connect_has_failed() -> None:
    desk = answered()
    desk.command(start_stream(tracks=(Track.RX, Track.TX)))
    effects = desk.tell(facts.StreamFailed("id-1", "connection_failed", "HTTP 403"))
    failed = payload(effects, "streaming.failed")
    assert failed["failure_reason"] == "connection_failed"
    assert failed["failure_detail"] == "HTTP 403"
    assert failed["stream_id"] == "id-1"
    assert failed["stream_type"] == "websocket"
    assert failed["stream_params"] == {"stream_url": URL, "track": "both_tracks"}
    assert desk.leg.state is LegState.ANSWERED


def test_a_stream_that_closes_before_it_connected_has_failed() -> None:
    desk = answered()
    desk.command(start_stream())
    effects = desk.tell(facts.StreamClosed("id-1", "app_closed"))
    assert payload(effects, "streaming.failed")["failure_reason"] == "connection_failed"


@pytest.mark.parametrize(
    "end", [facts.StreamClosed("id-1", "command"), facts.StreamFailed("id-1", "connection_failed", "x")]
)
def test_a_stream_that_is_stopped_before_it_connected_is_told_nowhere(end: facts.Fact) -> None:
    desk = answered()
    desk.command(start_stream())
    assert desk.command(ask.StopStream()) == [do.CloseStream("id-1", "command")]
    assert desk.tell(end) == []


@pytest.mark.parametrize(
    "end", [facts.StreamClosed("id-1", "command"), facts.StreamFailed("id-1", "connection_lost", "x")]
)
def test_a_stream_that_connects_while_it_is_being_stopped_is_told_with_its_end(end: facts.Fact) -> None:
    desk = answered()
    desk.command(start_stream())
    desk.command(ask.StopStream())
    assert kinds(desk.tell(facts.StreamConnected("id-1"))) == [do.Notify]
    assert told(desk.tell(end)) == ["streaming.stopped"]


def test_one_stream_or_all_can_be_stopped() -> None:
    desk = answered()
    for _ in range(3):
        desk.command(start_stream())
    assert desk.command(ask.StopStream(stream_id="id-2")) == [do.CloseStream("id-2", "command")]
    assert refused(desk, ask.StopStream(stream_id="id-2")) == ("90048", "/stream_id")
    assert refused(desk, ask.StopStream(stream_id="other")) == ("90048", "/stream_id")
    assert desk.command(ask.StopStream()) == [
        do.CloseStream("id-1", "command"),
        do.CloseStream("id-3", "command"),
    ]
    assert refused(desk, ask.StopStream()) == ("90048", None)


def test_a_leg_has_room_for_a_bounded_number_of_streams() -> None:
    desk = answered()
    for _ in range(limits.STREAMS_PER_LEG_MAX):
        desk.command(start_stream())
    assert refused(desk, start_stream()) == ("90045", None)
    desk.tell(facts.StreamFailed("id-3", "connection_failed", "x"))
    assert kinds(desk.command(start_stream())) == [do.OpenStream]


@pytest.mark.parametrize(
    "fact",
    [
        facts.StreamConnected("?"),
        facts.StreamClosed("?", "command"),
        facts.StreamFailed("?", "connection_lost", "x"),
        facts.ForkOpened("?"),
        facts.ForkClosed("?"),
        facts.TranscriptionClosed("?"),
        transcript(),
    ],
)
def test_facts_of_unknown_taps_are_ignored(fact: facts.Fact) -> None:
    assert answered().tell(fact) == []


# Forks


def test_a_fork_tells_where_its_packets_go_and_what_they_hold() -> None:
    desk = answered()
    rx, tx = UdpTarget("192.0.2.9", 5000), UdpTarget("2001:db8::9", 5002)
    reply, effects = desk.command_for_reply(ask.StartFork(rx=rx, tx=tx))
    assert reply == ask.Reply({"result": "ok"})
    assert effects == [do.OpenFork("id-1", rx, tx, None, ask.ForkType.DECRYPTED)]
    effects = desk.tell(facts.ForkOpened("id-1"))
    started = payload(effects, "call.fork.started")
    assert {key: started[key] for key in ("rx", "tx", "stream_type", "codec")} == {
        "rx": "udp:192.0.2.9:5000",
        "tx": "udp:[2001:db8::9]:5002",
        "stream_type": "decrypted",
        "codec": "PCMU",
    }
    assert (started["payload_type"], started["clock_rate"]) == (0, 8000)
    assert desk.tell(facts.ForkOpened("id-1")) == []
    assert told(desk.tell(facts.ForkClosed("id-1"))) == ["call.fork.stopped"]
    assert desk.tell(facts.ForkClosed("id-1")) == []


def test_a_fork_to_one_target_names_it() -> None:
    desk = answered()
    desk.command(ask.StartFork(target=UdpTarget("192.0.2.9", 5000)))
    started = payload(desk.tell(facts.ForkOpened("id-1")), "call.fork.started")
    assert started["target"] == "udp:192.0.2.9:5000"
    assert "rx" not in started


def test_a_fork_that_could_not_open_is_told_nowhere() -> None:
    desk = answered()
    desk.command(start_fork())
    assert desk.tell(facts.ForkClosed("id-1")) == []
    assert refused(desk, ask.StopFork()) == ("90031", None)


def test_forks_stop_by_type_or_all() -> None:
    desk = answered()
    desk.command(start_fork(ask.ForkType.RAW))
    desk.command(start_fork())
    desk.command(start_fork())
    assert desk.command(ask.StopFork(fork_type=ask.ForkType.RAW)) == [do.CloseFork("id-1")]
    assert refused(desk, ask.StopFork(fork_type=ask.ForkType.RAW)) == ("90031", None)
    assert desk.command(ask.StopFork()) == [do.CloseFork("id-2"), do.CloseFork("id-3")]
    assert refused(desk, ask.StopFork()) == ("90031", None)


def test_a_fork_that_opens_while_it_is_being_stopped_is_told_with_its_end() -> None:
    desk = answered()
    desk.command(start_fork())
    desk.command(ask.StopFork())
    assert told(desk.tell(facts.ForkOpened("id-1"))) == ["call.fork.started"]
    assert told(desk.tell(facts.ForkClosed("id-1"))) == ["call.fork.stopped"]


def test_a_leg_has_room_for_a_bounded_number_of_forks() -> None:
    desk = answered()
    for _ in range(limits.FORKS_PER_LEG_MAX):
        desk.command(start_fork())
    assert refused(desk, start_fork()) == ("10027", None)


def test_stopping_no_transcription_is_fine_unless_the_letter_is_wanted() -> None:
    assert answered().command(ask.StopTranscription()) == []
    strict = answered(compat=Compat(strict_transcription_stop=True))
    assert refused(strict, ask.StopTranscription()) == ("10027", None)
    strict.command(start_transcription())
    assert kinds(strict.command(ask.StopTranscription())) == [do.CloseTranscription]


# The end of the call


def test_the_end_of_a_call_closes_every_tap_once() -> None:
    desk = streaming()
    desk.command(start_stream())
    desk.command(ask.StopStream(stream_id="id-2"))
    desk.command(start_fork())
    desk.command(start_transcription())
    effects = desk.command(ask.Hangup())
    assert effects == [
        do.EndCall(),
        do.CloseStream("id-1", "call_ended", "normal_clearing"),
        do.CloseFork("id-3"),
        do.CloseTranscription("id-4"),
        do.CloseMedia(),
    ]


ENDS: list[facts.Fact] = [
    facts.StreamClosed("id-1", "call_ended"),
    facts.ForkClosed("id-2"),
    facts.TranscriptionClosed("id-3"),
    facts.MediaClosed(),
]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_every_end_is_told_before_the_hangup_in_whatever_order_it_comes(order: tuple[int, ...]) -> None:
    desk = streaming()
    desk.command(start_fork())
    desk.tell(facts.ForkOpened("id-2"))
    desk.command(start_transcription())
    desk.tell(facts.PeerHungUp())
    for index in order:
        assert desk.leg.state is LegState.ENDING
        desk.tell(ENDS[index])
    assert desk.events[-1] == "call.hangup"
    assert sorted(desk.events[-3:-1]) == ["call.fork.stopped", "streaming.stopped"]
    assert desk.done[-1] == do.Release()


def test_words_of_the_last_moment_are_told_before_the_hangup() -> None:
    desk = answered()
    desk.command(start_transcription())
    desk.tell(facts.PeerHungUp(), facts.MediaClosed())
    assert told(desk.tell(transcript())) == ["call.transcription"]
    assert told(desk.tell(facts.TranscriptionClosed("id-1"))) == ["call.hangup"]


def test_ends_that_are_never_reported_are_told_with_the_hangup() -> None:
    desk = streaming()
    desk.command(start_stream())
    desk.command(start_fork())
    desk.tell(facts.ForkOpened("id-3"))
    desk.command(start_fork())
    desk.command(start_transcription())
    desk.tell(facts.PeerHungUp())
    effects = desk.wait(limits.ENDING_TIMEOUT_S)
    assert told(effects) == ["streaming.stopped", "call.fork.stopped", "call.hangup"]
    assert effects[-1] == do.Release()
    assert desk.tell(facts.StreamClosed("id-1", "call_ended")) == []


def test_a_stop_of_a_fork_that_runs_is_told_once() -> None:
    desk = forking()
    assert desk.command(ask.StopFork()) == [do.CloseFork("id-1")]
    assert told(desk.tell(facts.ForkClosed("id-1"))) == ["call.fork.stopped"]


# Dialogflow


ASK_AGENT = ask.StartStream(dialogflow=ask.DialogflowOptions(analyze_sentiment=True))
ANSWER = facts.AgentAnswered("id-1", "hello", 1.0, True, (("Hi!", "Hey!"),), "greeting", "en", (0.5, 2.0))


def test_an_agent_is_a_stream_of_its_own_type() -> None:
    desk = answered()
    reply, effects = desk.command_for_reply(ASK_AGENT)
    assert reply == ask.Reply({"result": "ok", "stream_id": "id-1"})
    assert effects == [
        do.OpenDialogflow("id-1", desk.leg.identity, ask.DialogflowOptions(analyze_sentiment=True), 8_000)
    ]
    effects = desk.tell(facts.StreamConnected("id-1"))
    assert kinds(effects) == [do.Notify, do.BeginStream]
    started = payload(effects, "streaming.started")
    assert (started["stream_type"], started["stream_track"]) == ("dialogflow", "inbound_track")
    assert "stream_url" not in started
    answer = payload(desk.tell(ANSWER), "dialogflow.detectintent.response")
    assert {name: answer[name] for name in ("confidence", "transcript", "is_final", "stream_id")} == {
        "confidence": 1.0,
        "transcript": "hello",
        "is_final": True,
        "stream_id": "id-1",
    }
    assert answer["fulfillment_messages"] == [{"text": ["Hi!", "Hey!"]}]
    assert answer["sentiment"] == {"score": 0.5, "magnitude": 2.0}
    stopped = payload(desk.tell(facts.StreamClosed("id-1", "agent_ended")), "streaming.stopped")
    assert stopped["stop_reason"] == "agent_ended"
    assert desk.tell(ANSWER) == []


def test_an_agent_that_fails_is_told_with_its_type_and_without_a_url() -> None:
    desk = answered()
    desk.command(ASK_AGENT)
    failed = payload(
        desk.tell(facts.StreamFailed("id-1", "dialogflow_not_configured", "no connection")),
        "streaming.failed",
    )
    assert failed["failure_reason"] == "dialogflow_not_configured"
    assert failed["failure_detail"] == "no connection"
    assert failed["stream_type"] == "dialogflow"
    assert failed["stream_params"] == {"track": "inbound_track"}


def test_an_agent_and_an_app_begin_together_and_stop_together() -> None:
    desk = answered()
    both = ask.StartStream(stream=start_stream().stream, dialogflow=ask.DialogflowOptions())
    reply, effects = desk.command_for_reply(both)
    assert reply.data == {"result": "ok", "stream_id": "id-1", "dialogflow_stream_id": "id-2"}
    assert kinds(effects) == [do.OpenStream, do.OpenDialogflow]
    assert kinds(desk.command(ask.StopStream())) == [do.CloseStream, do.CloseStream]


def test_a_call_talks_with_one_agent_at_a_time() -> None:
    desk = answered()
    desk.command(ASK_AGENT)
    assert refused(desk, ASK_AGENT) == ("90045", "/enable_dialogflow")
    desk.command(ask.StopStream())
    assert kinds(desk.command(ASK_AGENT)) == [do.OpenDialogflow]


def test_two_streams_need_room_for_two() -> None:
    desk = answered()
    for _ in range(limits.STREAMS_PER_LEG_MAX - 1):
        desk.command(start_stream())
    both = ask.StartStream(stream=start_stream().stream, dialogflow=ask.DialogflowOptions())
    assert refused(desk, both) == ("90045", None)
    desk.command(ASK_AGENT)


def test_an_agent_takes_the_place_of_a_stream_where_there_is_room_for_one() -> None:
    desk = answered(compat=Compat(single_stream=True))
    desk.command(start_stream())
    desk.tell(facts.StreamConnected("id-1"))
    assert kinds(desk.command(ASK_AGENT)) == [do.CloseStream]
    assert kinds(desk.tell(facts.StreamClosed("id-1", "replaced"))) == [do.Notify, do.OpenDialogflow]


# Room for one (contract 4.5, compat.single_stream)


def alone() -> Desk:
    return answered(compat=Compat(single_stream=True))


def test_where_there_is_room_for_one_a_fork_ends_the_stream_first() -> None:
    desk = alone()
    desk.command(start_stream())
    desk.tell(facts.StreamConnected("id-1"))
    assert desk.command(start_fork()) == [do.CloseStream("id-1", "replaced")]
    effects = desk.tell(facts.StreamClosed("id-1", "replaced"))
    assert kinds(effects) == [do.Notify, do.OpenFork]
    assert payload(effects, "streaming.stopped")["stop_reason"] == "replaced"
    assert told(desk.tell(facts.ForkOpened("id-2"))) == ["call.fork.started"]


def test_where_there_is_room_for_one_a_stream_ends_the_other_and_the_fork() -> None:
    desk = alone()
    desk.command(start_fork())
    desk.tell(facts.ForkOpened("id-1"))
    assert desk.command(start_stream(app_codec="PCMU")) == [do.CloseFork("id-1")]
    assert kinds(desk.tell(facts.ForkClosed("id-1"))) == [do.Notify, do.OpenStream]
    desk.tell(facts.StreamConnected("id-2"))
    assert desk.command(start_stream(app_codec="PCMU")) == [do.CloseStream("id-2", "replaced")]
    assert kinds(desk.tell(facts.StreamClosed("id-2", "replaced"))) == [do.Notify, do.OpenStream]


def test_of_several_that_wait_for_the_one_room_the_last_gets_it() -> None:
    desk = alone()
    desk.command(start_stream())
    for command in (start_stream(), start_fork(), start_stream()):
        desk.command(command)
    assert desk.tell(facts.StreamConnected("id-4")) == [], "it has not been opened yet"
    assert desk.tell(facts.StreamClosed("id-4", "app_closed")) == []
    (effect,) = desk.tell(facts.StreamClosed("id-1", "replaced"))
    assert isinstance(effect, do.OpenStream)
    assert effect.stream_id == "id-4"


def test_what_waits_for_the_room_can_be_stopped_and_ends_with_the_call() -> None:
    desk = alone()
    desk.command(start_stream())
    desk.command(start_stream())
    assert desk.command(ask.StopStream(stream_id="id-2")) == []
    assert desk.tell(facts.StreamClosed("id-1", "replaced")) == []
    desk.command(start_fork())
    desk.command(start_fork())
    assert desk.command(ask.StopFork()) == []
    desk.command(start_stream())
    effects = desk.command(ask.Hangup())
    assert kinds(effects) == [do.EndCall, do.CloseMedia]
    desk.tell(facts.ForkClosed("id-3"))
    assert told(desk.tell(facts.MediaClosed())) == ["call.hangup"]


# Reasons


@pytest.mark.parametrize("reason", ["command", "app_closed"])
def test_the_end_of_a_stream_says_why(reason: str) -> None:
    desk = streaming()
    stopped = payload(desk.tell(facts.StreamClosed("id-1", reason)), "streaming.stopped")
    assert stopped["stop_reason"] == reason


def test_the_stop_frame_learns_why_the_call_ended() -> None:
    desk = streaming()
    effects = desk.tell(facts.PeerHungUp())
    assert effects[0] == do.CloseStream("id-1", "call_ended", "normal_clearing")


def test_an_app_that_plays_mp3_takes_nobodys_place() -> None:
    desk = answered()
    desk.command(start_stream(app_codec="PCMU"))
    for _ in range(limits.STREAMS_PER_LEG_MAX - 1):
        desk.command(start_stream(app_codec="MP3"))
    assert refused(desk, start_stream(app_codec="MP3")) == ("90045", None)


@pytest.mark.parametrize(
    ("target_legs", "strict", "heard"),
    [
        (TargetLegs.OPPOSITE, False, "opposite"),
        (TargetLegs.OPPOSITE, True, "opposite_only"),
        (TargetLegs.SELF, True, "self"),
        (TargetLegs.BOTH, True, "both"),
    ],
)
def test_an_app_is_heard_by_whom_its_stream_names(target_legs: TargetLegs, strict: bool, heard: str) -> None:
    desk = answered(compat=Compat(strict_target_legs=strict))
    _, effects = desk.command_for_reply(start_stream(app_codec="PCMU", target_legs=target_legs))
    (effect,) = effects
    assert isinstance(effect, do.OpenStream)
    assert effect.app_heard == heard


# Callbacks of TeXML streams

CALLBACK = ask.StreamCallback(url="https://app.example/status", method="GET", account_sid="acc", name="mine")


def callbacks(desk: Desk) -> list[do.Notify]:
    return [each for each in desk.done if isinstance(each, do.Notify) and each.route.form]


def test_a_callback_tells_start_and_stop_at_its_own_address_and_nothing_else() -> None:
    desk = answered()
    desk.command(start_stream(callback=CALLBACK))
    desk.tell(facts.StreamConnected("id-1"))
    desk.tell(facts.StreamClosed("id-1", "app_closed"))
    assert desk.events[-4:] == ["streaming.started", "stream-started", "streaming.stopped", "stream-stopped"]
    started, stopped = callbacks(desk)
    assert started.route == WebhookRoute("https://app.example/status", method="GET", form=True)
    assert started.payload == {
        "AccountSid": "acc",
        "CallSid": "v3:leg",
        "CallSidLegacy": "v3:leg",
        "StreamEvent": "stream-started",
        "StreamName": "mine",
        "StreamSid": "id-1",
        "Timestamp": iso_time(desk.now),
    }
    assert stopped.payload == {**started.payload, "StreamEvent": "stream-stopped"}


def test_a_callback_tells_why_a_stream_failed() -> None:
    desk = answered()
    desk.command(start_stream(callback=CALLBACK))
    desk.tell(facts.StreamFailed("id-1", "connection_failed", "no such host"))
    (failed,) = callbacks(desk)
    assert (failed.event_type, failed.payload["StreamError"]) == (
        "stream-failed",
        "connection_failed: no such host",
    )


def test_a_callback_comes_before_the_hangup_of_its_call() -> None:
    desk = answered()
    desk.command(start_stream(callback=CALLBACK))
    desk.tell(facts.StreamConnected("id-1"))
    desk.tell(facts.PeerHungUp(), facts.MediaClosed())
    desk.wait(limits.ENDING_TIMEOUT_S)
    assert desk.events[-3:] == ["streaming.stopped", "stream-stopped", "call.hangup"]


def test_a_callback_is_kept_where_a_stream_takes_the_place_of_another() -> None:
    desk = answered(compat=Compat(single_stream=True))
    desk.command(start_stream())
    desk.tell(facts.StreamConnected("id-1"))
    desk.command(start_stream(callback=CALLBACK))
    desk.tell(facts.StreamClosed("id-1", "replaced"))
    desk.tell(facts.StreamConnected("id-2"))
    assert [each.event_type for each in callbacks(desk)] == ["stream-started"]
