"""Calls that an app asks for: their states, what they tell, and every way they end before an answer."""

from dataclasses import replace

import pytest

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.codecs import CodecPolicy
from offhook.call.errors import CommandError
from offhook.call.values import Header, LegState, WebhookWishes
from tests.fakes.legs import (
    QUALITY,
    ROUTE,
    URL,
    Desk,
    dialling,
    kinds,
    media,
    memory,
    outgoing,
    payload,
    picked_up,
    start_fork,
    start_stream,
    start_transcription,
    stream,
    told,
)

pytestmark = pytest.mark.unit


def over(desk: Desk) -> dict[str, object]:
    """Let the media of an ending call close, and return its `call.hangup`."""
    assert desk.leg.state is LegState.ENDING
    desk.tell(facts.MediaClosed(QUALITY))
    assert desk.done[-1] == do.Release()
    return payload(desk.done, "call.hangup")


def cause(desk: Desk) -> tuple[object, object, object]:
    """Return how the call ended."""
    told = over(desk)
    return told["hangup_cause"], told["sip_hangup_cause"], told["hangup_source"]


def test_a_call_is_told_before_it_is_placed() -> None:
    desk = Desk()
    effects = desk.tell(outgoing(caller_name="Shop", client_state="eA==", preferred_codecs=("PCMA",)))
    assert kinds(effects) == [do.Notify, do.OpenMedia, do.PlaceCall]
    assert effects[1] == do.OpenMedia(None, ("PCMA", "PCMU"), silence_when_idle=False)
    told = payload(effects, "call.initiated")
    assert (told["direction"], told["state"]) == ("outgoing", "bridging")
    assert (told["from"], told["to"]) == ("+15550001111", "+15550002222")
    assert (told["caller_id_name"], told["client_state"]) == ("Shop", "eA==")
    assert told["offered_codecs"] == "PCMA,PCMU"
    assert desk.leg.status(desk.now)["is_alive"]


def test_an_answer_starts_what_the_plan_asks_for() -> None:
    options = ask.TranscriptionOptions()
    desk = dialling(stream=stream(), transcription=options, digits="1w2")
    effects = desk.tell(facts.CalleeAnswered("+15550002222", media(), (Header("X-Ticket", "7"),)))
    assert kinds(effects) == [do.ConnectMedia, do.Notify, do.OpenStream, do.OpenTranscription, do.SendDigits]
    told = payload(effects, "call.answered")
    assert (told["codec"], told["stream_url"], told["stream_track"]) == ("PCMU", URL, "inbound_track")
    assert told["custom_headers"] == [{"name": "X-Ticket", "value": "7"}]
    assert {"stream_id": effects[2].stream_id} == desk.leg.inline_ids  # type: ignore[attr-defined]


def test_early_audio_is_connected_and_not_again_by_the_same_answer() -> None:
    desk = dialling()
    assert desk.tell(facts.CalleeRinging()) == []
    assert desk.tell(facts.CalleeRinging(media())) == [do.ConnectMedia(media())]
    assert desk.tell(facts.CalleeRinging(media())) == []
    assert kinds(desk.tell(facts.CalleeAnswered("+15550002222", media()))) == [do.Notify]


def test_the_address_that_answered_is_told() -> None:
    desk = dialling(to=("sip:a@192.0.2.1", "sip:b@192.0.2.2"))
    effects = desk.tell(facts.CalleeAnswered("sip:b@192.0.2.2", media()))
    assert payload(effects, "call.answered")["to"] == "sip:b@192.0.2.2"


def test_an_answer_without_usable_audio_ends_the_call() -> None:
    desk = dialling()
    assert kinds(desk.tell(facts.CalleeAnswered("+15550002222", None))) == [do.EndCall, do.CloseMedia]
    assert cause(desk) == ("unspecified", "488", "unknown")


@pytest.mark.parametrize(
    ("status", "hangup_cause", "source"),
    [
        (486, "user_busy", "callee"),
        (600, "user_busy", "callee"),
        (404, "not_found", "callee"),
        (410, "not_found", "callee"),
        (484, "not_found", "callee"),
        (604, "not_found", "callee"),
        (403, "call_rejected", "callee"),
        (401, "call_rejected", "callee"),
        (407, "call_rejected", "callee"),
        (488, "call_rejected", "callee"),
        (603, "call_rejected", "callee"),
        (302, "call_rejected", "callee"),
        (480, "no_answer", "callee"),
        (408, "timeout", "unknown"),
        (500, "unspecified", "unknown"),
        (503, "unspecified", "unknown"),
    ],
)
def test_each_refusal_of_the_far_end_has_its_cause(status: int, hangup_cause: str, source: str) -> None:
    desk = dialling()
    assert kinds(desk.tell(facts.CalleeRefused(status))) == [do.CloseMedia]
    assert cause(desk) == (hangup_cause, str(status), source)
    assert desk.events == ["call.initiated", "call.hangup"]


def test_a_far_end_that_was_never_reached_is_no_fault_of_its_own() -> None:
    desk = dialling()
    desk.tell(facts.CalleeRefused(None, by_peer=False))
    assert cause(desk) == ("unspecified", "unspecified", "unknown")
    desk = dialling()
    desk.tell(facts.CalleeRefused(503, by_peer=False))
    assert cause(desk) == ("unspecified", "503", "unknown")


@pytest.mark.parametrize(("retry", "hangup_cause"), [(True, "timeout"), (False, "no_answer")])
def test_a_call_that_rings_too_long_is_given_up(retry: bool, hangup_cause: str) -> None:
    desk = dialling(timeout_s=20.0, retry_on_timeout=retry)
    assert desk.wait(19.9) == []
    assert kinds(desk.wait(0.1)) == [do.EndCall, do.CloseMedia]
    assert cause(desk) == (hangup_cause, "487", "unknown")


def test_hangup_before_the_answer_cancels_with_its_reason() -> None:
    desk = dialling()
    effects = desk.command(ask.Hangup(headers=(Header("X-A", "1"),), reason="changed my mind"))
    assert effects[0] == do.EndCall((Header("X-A", "1"),), "changed my mind")
    assert cause(desk) == ("originator_cancel", "487", "caller")


def test_after_the_answer_the_app_is_the_caller_and_the_phone_the_callee() -> None:
    desk = picked_up()
    desk.command(ask.Hangup())
    assert cause(desk) == ("normal_clearing", "200", "caller")
    desk = picked_up()
    desk.tell(facts.PeerHungUp())
    assert cause(desk) == ("normal_clearing", "200", "callee")


def test_the_limit_of_the_plan_ends_an_answered_call() -> None:
    desk = picked_up(time_limit_s=60.0)
    assert desk.wait(59.0) == []
    assert kinds(desk.wait(1.0)) == [do.EndCall, do.CloseMedia]
    assert cause(desk) == ("time_limit", "200", "unknown")


def test_a_call_without_ports_is_never_placed_to_its_end() -> None:
    desk = dialling()
    assert kinds(desk.tell(facts.MediaFailed("no port"))) == [do.EndCall, do.CloseMedia]
    assert cause(desk) == ("unspecified", "500", "unknown")


@pytest.mark.parametrize("command", [ask.Answer(), ask.Reject(cause=ask.RejectCause.USER_BUSY)])
@pytest.mark.parametrize("make", [dialling, picked_up])
def test_a_call_of_ours_cannot_be_answered_or_rejected(make: type[Desk], command: ask.Command) -> None:
    desk = make()
    with pytest.raises(CommandError, match="90102"):
        desk.command(command)


@pytest.mark.parametrize("command", [start_stream(), start_fork(), start_transcription(), ask.StopStream()])
def test_nothing_can_be_tapped_before_the_answer(command: ask.Command) -> None:
    with pytest.raises(CommandError, match="90034"):
        dialling().command(command)


def test_the_state_of_the_client_can_change_while_it_rings() -> None:
    desk = dialling(client_state="eA==")
    desk.command(ask.UpdateClientState(client_state="eQ=="))
    assert payload(desk.tell(facts.CalleeAnswered("x", media())), "call.answered")["client_state"] == "eQ=="


def test_the_webhooks_of_a_call_go_where_its_plan_says() -> None:
    desk = dialling(webhooks=WebhookWishes("https://other.example/hook"))
    (notice,) = [effect for effect in desk.done if isinstance(effect, do.Notify)]
    assert notice.route == replace(ROUTE, url="https://other.example/hook")


@pytest.mark.parametrize(
    "late", [facts.CalleeRinging(media()), facts.CalleeAnswered("x", media()), facts.CalleeRefused(486)]
)
def test_what_the_far_end_says_too_late_changes_nothing(late: facts.Fact) -> None:
    for desk in (picked_up(), dialling()):
        if desk.leg.state is LegState.DIALLING:
            desk.command(ask.Hangup())
        assert desk.tell(late) == []


def test_an_ended_call_keeps_no_password() -> None:
    desk = dialling(password="secret", username="us")
    desk.tell(facts.CalleeRefused(486))
    over(desk)
    assert "secret" not in repr(memory(desk.leg))
    record = memory(desk.leg)["known"]["record"]
    assert record.call.plan.password is None


def test_codecs_that_can_only_be_passed_on_are_offered_when_asked_for() -> None:
    policy = CodecPolicy(("PCMU", "AMR-WB"), opaque=frozenset({"AMR-WB"}))
    assert policy.offered() == ("PCMU",)
    assert policy.offered(("AMR-WB",)) == ("AMR-WB", "PCMU")


def test_a_silent_far_end_is_given_up_after_the_usual_time() -> None:
    desk = dialling()
    desk.wait(limits.DIAL_TIMEOUT_S)
    assert told(desk.done) == ["call.initiated"]
    assert desk.leg.state is LegState.ENDING


# A stream that is opened before the call


def streaming_first(**changes: object) -> Desk:
    """Return a desk whose call waits for its stream."""
    desk = Desk()
    effects = desk.tell(outgoing(stream=stream(), stream_first=True, **changes))
    assert kinds(effects) == [do.Notify, do.OpenMedia, do.OpenStream]
    return desk


def opened(desk: Desk) -> do.OpenStream:
    (effect,) = [each for each in desk.done if isinstance(each, do.OpenStream)]
    return effect


def test_nobody_is_rung_before_the_stream_is_open_and_it_begins_with_the_answer() -> None:
    desk = streaming_first(timeout_s=5.0)
    assert (opened(desk).codec, opened(desk).stream_id) == ("PCMU", desk.leg.inline_ids["stream_id"])
    desk.wait(10.0)
    assert kinds(desk.tell(facts.StreamConnected("id-1"))) == [do.PlaceCall]
    assert desk.leg.poll_timeout() == desk.now + 5.0, "the time to ring begins now"
    assert desk.tell(facts.CalleeRinging(media())) == [], "early media is no part of the stream"
    effects = desk.tell(facts.CalleeAnswered("+15550002222", media()))
    assert kinds(effects) == [do.ConnectMedia, do.Notify, do.Notify, do.BeginStream]
    assert told(effects) == ["call.answered", "streaming.started"]
    desk.tell(facts.StreamClosed("id-1", "app_closed"))
    assert desk.events[-1] == "streaming.stopped"


def test_a_stream_that_cannot_be_opened_is_told_and_the_call_is_made() -> None:
    desk = streaming_first()
    effects = desk.tell(facts.StreamFailed("id-1", "connection_failed", "no such host"))
    assert told(effects) == ["streaming.failed"]
    assert kinds(effects) == [do.Notify, do.PlaceCall]
    effects = desk.tell(facts.CalleeAnswered("+15550002222", media()))
    assert kinds(effects) == [do.ConnectMedia, do.Notify], "it is not tried again"


def test_a_stream_that_is_lost_while_it_rings_is_told_once() -> None:
    desk = streaming_first()
    desk.tell(facts.StreamConnected("id-1"))
    assert told(desk.tell(facts.StreamFailed("id-1", "connection_lost", "reset"))) == ["streaming.failed"]
    assert told(desk.tell(facts.CalleeAnswered("+15550002222", media()))) == ["call.answered"]


def test_a_stream_that_takes_too_long_holds_the_call_up_no_longer() -> None:
    desk = streaming_first()
    assert kinds(desk.wait(limits.PREPARING_TIMEOUT_S)) == [do.PlaceCall]
    assert desk.tell(facts.CalleeAnswered("+15550002222", media()))[-1:] != [do.BeginStream("id-1")]
    effects = desk.tell(facts.StreamConnected("id-1"))
    assert told(effects) == ["streaming.started"]
    assert effects[-1] == do.BeginStream("id-1")


def test_nothing_is_told_of_a_stream_whose_call_nobody_takes() -> None:
    desk = streaming_first()
    desk.tell(facts.StreamConnected("id-1"))
    effects = desk.tell(facts.CalleeRefused(486))
    assert effects[0] == do.CloseStream("id-1", "call_ended", "user_busy")
    desk.tell(facts.StreamClosed("id-1", "call_ended"))
    over(desk)
    assert desk.events == ["call.initiated", "call.hangup"]


def test_a_call_that_is_given_up_while_it_waits_for_its_stream_is_never_placed() -> None:
    desk = streaming_first()
    assert kinds(desk.command(ask.Hangup())) == [do.EndCall, do.CloseStream, do.CloseMedia]
    assert desk.tell(facts.StreamConnected("id-1")) == []
    desk.tell(facts.StreamClosed("id-1", "call_ended"))
    assert over(desk)["hangup_cause"] == "originator_cancel"
    assert do.PlaceCall not in kinds(desk.done)


def test_a_stream_that_the_call_turns_out_to_leave_no_way_for_fails() -> None:
    desk = Desk(codecs=CodecPolicy(("PCMU", "PCMA"), opaque=frozenset({"PCMA"})))
    desk.tell(outgoing(stream=stream(codec="PCMU"), stream_first=True), facts.StreamConnected("id-1"))
    effects = desk.tell(facts.CalleeAnswered("+15550002222", media("PCMA")))
    assert told(effects) == ["call.answered", "streaming.failed"]
    assert effects[-1] == do.CloseStream("id-1", "failed")
    assert desk.tell(facts.StreamClosed("id-1", "failed")) == []
