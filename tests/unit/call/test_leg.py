"""The states of a leg: what each command and fact leads to (contract 3.5-3.7)."""

from dataclasses import replace
from typing import Any

import pytest

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.errors import CommandError
from offhook.call.values import Header, LegState, WebhookRoute, WebhookWishes
from tests.fakes.legs import (
    IN_STATE,
    QUALITY,
    ROUTE,
    START,
    URL,
    Desk,
    answered,
    answering,
    ended,
    ending,
    incoming,
    kinds,
    media,
    memory,
    payload,
    ringing,
    sdp,
    start_fork,
    start_stream,
    start_transcription,
    stream,
    told,
)

pytestmark = pytest.mark.unit

TAP_COMMANDS = [
    start_stream(),
    ask.StopStream(),
    start_fork(),
    ask.StopFork(),
    start_transcription(),
    ask.StopTranscription(),
    ask.SendDigits(digits="1"),
    ask.StartPlayback(playback=ask.PlaybackOptions(url="https://app.example/hello.wav")),
    ask.Speak(speak=ask.SpeakOptions(script=(), voice="female")),
    ask.StopPlayback(),
]
CALL_COMMANDS = [
    ask.Answer(),
    ask.Reject(cause=ask.RejectCause.USER_BUSY),
    ask.Hangup(),
    ask.UpdateClientState(client_state="eA=="),
]


def refusal(desk: Desk, command: ask.Command) -> tuple[str, str | None]:
    """Return code and pointer of a refusal, after looking that it left no trace."""
    before = memory(desk.leg)
    with pytest.raises(CommandError) as refused:
        desk.leg.command(replace(command, client_state="bmV3", command_id="once"), desk.now)
    assert memory(desk.leg) == before
    return refused.value.problem.code, refused.value.problem.pointer


# What each state refuses


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (LegState.NEW, "90034"),
        (LegState.PARKED, "90034"),
        (LegState.ANSWERING, "90034"),
        (LegState.ENDING, "90018"),
        (LegState.ENDED, "90018"),
    ],
)
@pytest.mark.parametrize("command", TAP_COMMANDS, ids=lambda each: type(each).__name__)
def test_a_call_that_is_not_up_has_no_taps(state: LegState, code: str, command: ask.Command) -> None:
    assert refusal(IN_STATE[state](), command) == (code, None)


@pytest.mark.parametrize(
    ("state", "code"), [(LegState.NEW, "90034"), (LegState.ENDING, "90018"), (LegState.ENDED, "90018")]
)
@pytest.mark.parametrize("command", CALL_COMMANDS, ids=lambda each: type(each).__name__)
def test_a_call_that_is_over_or_not_there_takes_no_command(
    state: LegState, code: str, command: ask.Command
) -> None:
    assert refusal(IN_STATE[state](), command) == (code, None)


@pytest.mark.parametrize("state", [LegState.ANSWERING, LegState.ANSWERED])
@pytest.mark.parametrize("command", CALL_COMMANDS[:2], ids=lambda each: type(each).__name__)
def test_an_answered_call_is_neither_answered_again_nor_rejected(
    state: LegState, command: ask.Command
) -> None:
    assert refusal(IN_STATE[state](), command) == ("10027", None)


def test_an_offer_without_a_codec_of_ours_cannot_be_answered() -> None:
    desk = Desk()
    desk.tell(incoming(offer=sdp("9")))
    assert refusal(desk, ask.Answer()) == ("10027", None)


# The ringing call


def test_an_invite_is_told_as_a_parked_call() -> None:
    desk = Desk()
    (notice,) = desk.tell(incoming())
    assert isinstance(notice, do.Notify)
    assert notice.event_type == "call.initiated"
    assert notice.route == ROUTE
    assert notice.occurred_at == START
    assert desk.leg.state is LegState.PARKED


def test_a_second_invite_for_the_same_leg_is_ignored() -> None:
    assert ringing().tell(incoming()) == []


@pytest.mark.parametrize(
    ("cause", "status", "told_cause"),
    [
        (ask.RejectCause.CALL_REJECTED, 603, "call_rejected"),
        (ask.RejectCause.USER_BUSY, 486, "user_busy"),
        (ask.RejectCause.NOT_FOUND, 404, "not_found"),
        (ask.RejectCause.TEMPORARILY_UNAVAILABLE, 480, "no_answer"),
    ],
)
def test_a_rejected_call_is_over_at_once(cause: ask.RejectCause, status: int, told_cause: str) -> None:
    desk = ringing()
    effects = desk.command(ask.Reject(cause=cause))
    assert effects[0] == do.RejectCall(status)
    assert kinds(effects) == [do.RejectCall, do.Notify, do.Release]
    hangup = payload(effects, "call.hangup")
    assert (hangup["hangup_cause"], hangup["sip_hangup_cause"]) == (told_cause, str(status))
    assert hangup["hangup_source"] == "callee"
    assert hangup["call_quality_stats"] is None


def test_hanging_up_a_ringing_call_declines_it() -> None:
    headers = (Header("X-Why", "closed"),)
    effects = ringing().command(ask.Hangup(headers=headers))
    assert effects[0] == do.RejectCall(603, headers=headers)
    assert payload(effects, "call.hangup")["hangup_cause"] == "call_rejected"


def test_a_call_that_nobody_answers_is_refused_in_time() -> None:
    desk = ringing()
    assert desk.leg.poll_timeout() == START + limits.RING_TIMEOUT_S
    assert desk.wait(limits.RING_TIMEOUT_S - 1) == []
    effects = desk.wait(1)
    assert effects[0] == do.RejectCall(480)
    hangup = payload(effects, "call.hangup")
    assert (hangup["hangup_cause"], hangup["sip_hangup_cause"]) == ("timeout", "480")
    assert hangup["hangup_source"] == "unknown"
    assert desk.wait(10_000) == []


@pytest.mark.parametrize("timeout_s", [5.0, limits.RING_TIMEOUT_S + 60])
def test_a_call_without_a_first_command_is_refused_in_time(timeout_s: float) -> None:
    desk = ringing(first_command_timeout_s=timeout_s)
    wait_s = min(timeout_s, limits.RING_TIMEOUT_S)
    assert desk.leg.poll_timeout() == START + wait_s
    effects = desk.wait(wait_s)
    assert effects[0] == do.RejectCall(480)
    assert payload(effects, "call.hangup")["hangup_cause"] == "timeout"


def test_any_first_command_lets_the_call_wait_for_its_answer() -> None:
    desk = ringing(first_command_timeout_s=5.0)
    desk.wait(4)
    with pytest.raises(CommandError):
        desk.command(start_stream())
    assert desk.leg.poll_timeout() == START + 5
    desk.command(ask.UpdateClientState(client_state="eA=="))
    assert desk.wait(limits.RING_TIMEOUT_S - 5) == []
    assert desk.wait(1)[0] == do.RejectCall(480)


# The answer


def test_an_answer_opens_media_before_it_accepts() -> None:
    headers = (Header("X-Agent", "9"),)
    desk = ringing()
    effects = desk.command(ask.Answer(headers=headers, silence_when_idle=True))
    assert effects == [
        do.OpenMedia(media("PCMU"), ("PCMU", "PCMA"), silence_when_idle=True),
        do.AcceptCall(media("PCMU"), headers),
    ]


@pytest.mark.parametrize(
    ("preferred", "codec"),
    [
        ((), "PCMU"),
        (("PCMA", "PCMU"), "PCMA"),
        (("pcma",), "PCMA"),
        (("G722", "PCMA"), "PCMA"),
        (("G722",), "PCMU"),
        (("nonsense",), "PCMU"),
    ],
)
def test_the_app_chooses_the_codec_when_it_can_be_had(preferred: tuple[str, ...], codec: str) -> None:
    effects = ringing().command(ask.Answer(preferred_codecs=preferred))
    assert isinstance(effects[0], do.OpenMedia)
    assert effects[0].media == media(codec)


def test_a_preferred_codec_that_the_caller_lacks_gives_way() -> None:
    desk = Desk()
    desk.tell(incoming(offer=sdp("8")))
    effects = desk.command(ask.Answer(preferred_codecs=("PCMU",)))
    assert effects[1] == do.AcceptCall(media("PCMA"), ())


def test_the_ack_makes_the_call_answered() -> None:
    desk = answering(ask.Answer(headers=(Header("X-Agent", "9"),)))
    effects = desk.tell(facts.AckReceived())
    assert told(effects) == ["call.answered"]
    answer = payload(effects, "call.answered")
    assert (answer["codec"], answer["sampling_rate"], answer["state"]) == ("PCMU", 8000, "answered")
    assert answer["custom_headers"] == [{"name": "X-Agent", "value": "9"}]
    assert desk.tell(facts.AckReceived()) == []


def test_an_ack_before_the_answer_means_nothing() -> None:
    assert ringing().tell(facts.AckReceived()) == []


def test_an_invite_without_offer_gets_its_media_from_the_ack() -> None:
    desk = Desk()
    desk.tell(incoming(offer=None))
    assert payload(desk.done, "call.initiated")["offered_codecs"] == ""
    effects = desk.command(ask.Answer(preferred_codecs=("PCMA",)))
    assert effects == [do.OpenMedia(None, ("PCMA", "PCMU"), silence_when_idle=False), do.AcceptCall(None, ())]
    effects = desk.tell(facts.AckReceived(media("PCMA")))
    assert effects[0] == do.ConnectMedia(media("PCMA"))
    assert payload(effects, "call.answered")["codec"] == "PCMA"


def test_a_call_whose_ack_brings_no_media_is_ended() -> None:
    desk = Desk()
    desk.tell(incoming(offer=None))
    desk.command(ask.Answer())
    assert desk.tell(facts.AckReceived()) == [do.EndCall(), do.CloseMedia()]
    hangup = payload(desk.tell(facts.MediaClosed()), "call.hangup")
    assert (hangup["hangup_cause"], hangup["sip_hangup_cause"]) == ("unspecified", "unspecified")
    assert "call.answered" not in desk.events


def test_the_taps_of_an_answer_open_after_call_answered() -> None:
    command = ask.Answer(
        stream=stream(),
        transcription=ask.TranscriptionOptions(),
        webhooks=WebhookWishes("https://other.example/"),
    )
    desk = ringing()
    reply, _ = desk.command_for_reply(command)
    assert reply.data == {"result": "ok", "stream_id": "id-1"}
    effects = desk.tell(facts.AckReceived())
    assert kinds(effects) == [do.Notify, do.OpenStream, do.OpenTranscription]
    assert isinstance(effects[0], do.Notify)
    assert effects[0].payload["stream_url"] == URL
    assert effects[0].payload["stream_track"] == "inbound_track"
    assert isinstance(effects[1], do.OpenStream)
    assert effects[1].stream_id == "id-1"
    expected = WebhookRoute("https://other.example/", ROUTE.failover_url, ROUTE.timeout_s)
    assert effects[0].route == expected


def test_an_answer_says_which_events_go_where_and_how_often() -> None:
    desk = ringing()
    retries_s = {"call.hangup": (0.5,)}
    urls = {"call.hangup": "https://end.example/"}
    wishes = WebhookWishes("https://other.example/", "GET", urls, "GET", retries_s)
    desk.command(ask.Answer(webhooks=wishes))
    (answered, *_) = desk.tell(facts.AckReceived())
    assert isinstance(answered, do.Notify)
    route = answered.route
    assert route.of_event("call.answered") == WebhookRoute(
        "https://other.example/", ROUTE.failover_url, ROUTE.timeout_s, "GET"
    )
    assert route.of_event("call.hangup") == WebhookRoute(
        "https://end.example/", ROUTE.failover_url, ROUTE.timeout_s, "GET", retries_s=retries_s
    )


def test_what_an_answer_does_not_say_of_webhooks_stays_as_it_was() -> None:
    assert WebhookWishes(method="GET").applied_to(ROUTE) == ROUTE, "the method is that of a URL it gives"
    given = WebhookWishes(urls={"call.hangup": "https://end.example/"}).applied_to(ROUTE)
    assert (given.url, given.of_event("call.dtmf.received")) == (ROUTE.url, ROUTE)


# What ends a call

ENDINGS: list[tuple[LegState, Any, list[do.Effect], tuple[str, str, str]]] = [
    (LegState.PARKED, facts.CallerCancelled(), [], ("originator_cancel", "487", "caller")),
    (LegState.PARKED, facts.PeerHungUp(), [do.RejectCall(487)], ("originator_cancel", "487", "caller")),
    (
        LegState.PARKED,
        facts.SignallingFailed("x", 503),
        [do.RejectCall(500)],
        ("unspecified", "503", "unknown"),
    ),
    (LegState.PARKED, facts.MediaFailed("x"), [do.RejectCall(500)], ("unspecified", "500", "unknown")),
    (LegState.ANSWERING, facts.CallerCancelled(), [], ("originator_cancel", "487", "caller")),
    (LegState.ANSWERING, facts.PeerHungUp(), [], ("normal_clearing", "200", "caller")),
    (
        LegState.ANSWERING,
        facts.SignallingFailed("x", 408),
        [do.EndCall()],
        ("unspecified", "408", "unknown"),
    ),
    (LegState.ANSWERING, facts.MediaFailed("x"), [do.RejectCall(500)], ("unspecified", "500", "unknown")),
    (LegState.ANSWERING, ask.Hangup(), [do.EndCall()], ("normal_clearing", "200", "callee")),
    (LegState.ANSWERING, limits.ACK_TIMEOUT_S, [do.EndCall()], ("unspecified", "408", "unknown")),
    (LegState.ANSWERED, facts.PeerHungUp(), [], ("normal_clearing", "200", "caller")),
    (LegState.ANSWERED, ask.Hangup(), [do.EndCall()], ("normal_clearing", "200", "callee")),
    (
        LegState.ANSWERED,
        facts.SignallingFailed("x"),
        [do.EndCall()],
        ("unspecified", "unspecified", "unknown"),
    ),
    (
        LegState.ANSWERED,
        facts.MediaFailed("x"),
        [do.EndCall()],
        ("unspecified", "unspecified", "unknown"),
    ),
    (
        LegState.ANSWERED,
        facts.MediaTimedOut(),
        [do.EndCall()],
        ("unspecified", "unspecified", "unknown"),
    ),
    (LegState.ANSWERED, limits.CALL_TIME_LIMIT_S, [do.EndCall()], ("time_limit", "200", "unknown")),
]


@pytest.mark.parametrize(("state", "ending", "first", "verdict"), ENDINGS)
def test_whatever_ends_a_call_is_told_once_and_last(
    state: LegState, ending: Any, first: list[do.Effect], verdict: tuple[str, str, str]
) -> None:
    desk = IN_STATE[state]()
    if isinstance(ending, ask.Command):
        effects = desk.command(ending)
    elif isinstance(ending, float):
        effects = desk.wait(ending)
    else:
        effects = desk.tell(ending)
    had_media = state is not LegState.PARKED
    assert effects[: len(first)] == first
    assert (effects[len(first)] == do.CloseMedia()) is had_media
    if had_media:
        effects = desk.tell(facts.MediaClosed(QUALITY))
    assert kinds(effects)[-2:] == [do.Notify, do.Release]
    hangup = payload(effects, "call.hangup")
    assert (hangup["hangup_cause"], hangup["sip_hangup_cause"], hangup["hangup_source"]) == verdict
    assert (hangup["call_quality_stats"] is not None) is had_media
    assert desk.leg.state is LegState.ENDED
    assert desk.leg.poll_timeout() is None


@pytest.mark.parametrize(
    ("state", "fact"),
    [
        (LegState.PARKED, facts.MediaTimedOut()),
        (LegState.PARKED, facts.MediaClosed(QUALITY)),
        (LegState.ANSWERING, facts.MediaTimedOut()),
        (LegState.ANSWERED, facts.CallerCancelled()),
    ],
)
def test_a_fact_that_comes_too_early_or_too_late_changes_nothing(state: LegState, fact: facts.Fact) -> None:
    desk = IN_STATE[state]()
    before = memory(desk.leg)
    assert desk.tell(fact) == []
    assert memory(desk.leg) == before


@pytest.mark.parametrize(
    "fact",
    [
        facts.CallerCancelled(),
        facts.PeerHungUp(),
        facts.SignallingFailed("x"),
        facts.MediaFailed("x"),
        facts.MediaTimedOut(),
    ],
)
def test_the_first_reason_to_end_stands(fact: facts.Fact) -> None:
    desk = ending()
    assert desk.tell(fact) == []
    assert payload(desk.tell(facts.MediaClosed()), "call.hangup")["hangup_cause"] == "normal_clearing"


@pytest.mark.parametrize("make", [Desk, ended])
def test_facts_before_and_after_a_call_are_ignored(make: Any) -> None:
    desk = make()
    news = [facts.AckReceived(), facts.PeerHungUp(), facts.MediaClosed(), facts.DigitReceived("1")]
    assert [desk.tell(fact) for fact in news] == [[], [], [], []]


def test_media_that_disappears_by_itself_ends_the_call() -> None:
    desk = answered()
    effects = desk.tell(facts.MediaClosed(QUALITY))
    assert kinds(effects) == [do.EndCall, do.Notify, do.Release]
    assert payload(effects, "call.hangup")["call_quality_stats"]["inbound"]["mos"] == "4.41"


def test_the_headers_of_a_bye_are_told_beside_those_of_the_answer() -> None:
    desk = answered(ask.Answer(headers=(Header("X-Agent", "9"),)))
    desk.tell(facts.PeerHungUp((Header("X-Survey", "5"), Header("Via", "x"))))
    hangup = payload(desk.tell(facts.MediaClosed()), "call.hangup")
    assert [header["name"] for header in hangup["custom_headers"]] == ["X-Agent", "X-Survey"]


def test_an_end_that_is_never_reported_is_told_after_a_while() -> None:
    desk = ending()
    assert desk.leg.poll_timeout() == START + limits.ENDING_TIMEOUT_S
    assert desk.wait(limits.ENDING_TIMEOUT_S - 0.1) == []
    effects = desk.wait(0.1)
    assert kinds(effects) == [do.Notify, do.Release]
    assert payload(effects, "call.hangup")["end_time"] == payload(effects, "call.hangup")["start_time"]


# Commands that every live leg takes


def test_client_state_is_echoed_by_every_later_webhook() -> None:
    desk = ringing()
    assert payload(desk.done, "call.initiated")["client_state"] is None
    assert desk.command(ask.UpdateClientState(client_state="Zmlyc3Q=")) == []
    desk.command(ask.Answer())
    assert payload(desk.tell(facts.AckReceived()), "call.answered")["client_state"] == "Zmlyc3Q="
    desk.command(ask.Hangup(client_state="c2Vjb25k"))
    assert payload(desk.tell(facts.MediaClosed()), "call.hangup")["client_state"] == "c2Vjb25k"


def test_a_command_sets_client_state_before_its_own_webhooks() -> None:
    effects = ringing().command(ask.Reject(cause=ask.RejectCause.NOT_FOUND, client_state="bm93"))
    assert payload(effects, "call.hangup")["client_state"] == "bm93"


def test_a_repeated_command_id_gets_the_first_reply_and_does_nothing() -> None:
    desk = answered()
    reply, effects = desk.command_for_reply(replace(start_stream(), command_id="a", client_state="b25l"))
    assert kinds(effects) == [do.OpenStream]
    again, effects = desk.command_for_reply(replace(start_stream(), command_id="a", client_state="dHdv"))
    assert effects == []
    assert again == ask.Reply(reply.data, duplicate=True)
    assert desk.leg.client_state == "b25l"


def test_one_command_id_may_serve_different_actions() -> None:
    desk = answered()
    assert desk.command(replace(start_stream(), command_id="a"))
    assert desk.command(replace(start_fork(), command_id="a"))


def test_an_answer_repeated_with_its_command_id_is_replayed_and_otherwise_refused() -> None:
    desk = answered(ask.Answer(command_id="a"))
    reply, effects = desk.command_for_reply(ask.Answer(command_id="a"))
    assert (reply.duplicate, effects) == (True, [])
    assert refusal(desk, ask.Answer())[0] == "10027"


def test_a_command_id_is_forgotten_after_a_minute() -> None:
    desk = answered()
    desk.command(replace(start_stream(), command_id="a"))
    desk.now += limits.COMMAND_IDS_KEPT_S - 0.1
    assert desk.command(replace(start_stream(), command_id="a")) == []
    desk.now += 0.1
    assert kinds(desk.command(replace(start_stream(), command_id="a"))) == [do.OpenStream]


def test_a_refused_command_id_may_be_used_again() -> None:
    desk = ringing()
    assert refusal(desk, start_stream())[0] == "90034"
    desk.command(ask.Answer())
    desk.tell(facts.AckReceived())
    assert kinds(desk.command(replace(start_stream(), command_id="once"))) == [do.OpenStream]


def test_a_hangup_is_replayed_after_the_end() -> None:
    desk = answered()
    desk.command(ask.Hangup(command_id="bye"))
    desk.tell(facts.MediaClosed())
    reply, effects = desk.command_for_reply(ask.Hangup(command_id="bye"))
    assert (reply.duplicate, effects) == (True, [])


def test_pressed_keys_are_told_while_the_call_is_up() -> None:
    effects = answered().tell(facts.DigitReceived("#"))
    digit = payload(effects, "call.dtmf.received")
    assert (digit["digit"], digit["from"], digit["to"]) == ("#", "+15550001111", "+15550002222")
    assert answering().tell(facts.DigitReceived("1")) == []


# The call resource


def test_the_status_of_a_call_follows_its_life() -> None:
    desk = Desk()
    assert desk.leg.status(START)["is_alive"] is False
    assert "start_time" not in desk.leg.status(START)
    desk.tell(incoming())
    desk.command(ask.Answer(client_state="eA=="))
    desk.tell(facts.AckReceived())
    desk.now += 12.7
    assert desk.leg.status(desk.now) == {
        "call_control_id": "v3:leg",
        "call_leg_id": "leg-uuid",
        "call_session_id": "session-uuid",
        "record_type": "call",
        "is_alive": True,
        "client_state": "eA==",
        "call_duration": 12,
        "start_time": "2026-09-21T14:13:20.000000Z",
    }
    desk.tell(facts.PeerHungUp(), facts.MediaClosed())
    status = desk.leg.status(desk.now + 500)
    assert (status["is_alive"], status["call_duration"]) == (False, 12)
    assert status["end_time"] == "2026-09-21T14:13:32.700000Z"


def test_an_ended_leg_keeps_neither_headers_nor_sdp() -> None:
    desk = answered(ask.Answer(headers=(Header("X-Agent", "9"),)))
    desk.tell(facts.PeerHungUp((Header("X-Survey", "5"),)), facts.MediaClosed())
    kept = repr(memory(desk.leg))
    assert "X-Ticket" not in kept
    assert "X-Agent" not in kept
    assert "X-Survey" not in kept
    assert "SessionDescription" not in kept
