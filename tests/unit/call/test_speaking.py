"""Texts among sounds: they wait for one another, and their own webhooks tell of them."""

import pytest

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.codecs import CodecPolicy
from offhook.call.errors import CommandError
from offhook.proto.ssml import Words
from tests.fakes.legs import QUALITY, Desk, answered, payload, told

pytestmark = pytest.mark.unit

PLAY = ask.StartPlayback(playback=ask.PlaybackOptions(url="https://app.example/hello.wav"))
OPTIONS = ask.SpeakOptions(script=(Words("Thank you."),), voice="AWS.Polly.Joanna", loop=2)


def speak(stop: ask.StopWhich | None = None, **common: str) -> ask.Speak:
    return ask.Speak(speak=OPTIONS, stop=stop, **common)  # type: ignore[arg-type]


def ends(desk: Desk) -> list[tuple[str, str, str]]:
    notices = [effect for effect in desk.done if isinstance(effect, do.Notify)]
    return [
        (each.event_type, each.payload["status"], each.payload["status_detail"])
        for each in notices
        if each.event_type.endswith(("speak.ended", "playback.ended"))
    ]


def test_a_text_is_told_when_it_is_heard_and_when_it_is_over() -> None:
    desk = answered()
    assert desk.command(speak()) == [do.OpenSpeak("id-1", OPTIONS)]
    started = payload(desk.tell(facts.PlaybackStarted("id-1")), "call.speak.started")
    assert started["speak_id"] == "id-1"
    assert "media_url" not in started
    ended = payload(desk.tell(facts.PlaybackEnded("id-1", "completed")), "call.speak.ended")
    assert (ended["speak_id"], ended["status"], ended["status_detail"]) == ("id-1", "completed", "")


def test_texts_and_sounds_are_opened_in_order_and_end_each_by_its_own_name() -> None:
    desk = answered()
    desk.command(PLAY)
    assert desk.command(speak()) == [do.OpenSpeak("id-2", OPTIONS)]
    desk.tell(facts.PlaybackEnded("id-1", "completed"), facts.PlaybackEnded("id-2", "completed"))
    assert [event for event, *_ in ends(desk)] == ["call.playback.ended", "call.speak.ended"]


def test_stopping_playback_stops_texts_which_the_api_calls_completed() -> None:
    desk = answered()
    desk.command(speak())
    desk.command(speak())
    desk.tell(facts.PlaybackStarted("id-1"))
    assert desk.command(ask.StopPlayback()) == [do.ClosePlayback("id-1"), do.ClosePlayback("id-2")]
    desk.tell(facts.PlaybackEnded("id-2", "cancelled"), facts.PlaybackEnded("id-1", "cancelled"))
    assert [(event, status) for event, status, _ in ends(desk)] == [("call.speak.ended", "completed")] * 2


def test_a_text_may_take_the_place_of_a_sound_and_the_other_way_round() -> None:
    desk = answered()
    desk.command(PLAY)
    replaced = desk.command(speak(ask.StopWhich.CURRENT))
    assert replaced == [do.ClosePlayback("id-1"), do.OpenSpeak("id-2", OPTIONS)]
    desk.tell(facts.PlaybackEnded("id-1", "cancelled"))
    replaced = desk.command(ask.StartPlayback(playback=PLAY.playback, stop=ask.StopWhich.ALL))
    assert replaced == [do.ClosePlayback("id-2"), do.OpenPlayback("id-3", PLAY.playback)]


def test_the_end_of_the_call_ends_every_text_before_the_hangup_is_told() -> None:
    desk = answered()
    desk.command(speak())
    desk.command(speak())
    desk.tell(facts.PeerHungUp(), facts.MediaClosed(QUALITY))
    desk.tell(facts.PlaybackEnded("id-2", "cancelled"))
    assert "call.hangup" not in desk.events
    last = desk.tell(facts.PlaybackEnded("id-1", "cancelled"))
    assert told(last) == ["call.speak.ended", "call.hangup"]
    assert [status for _, status, _ in ends(desk)] == ["call_hangup"] * 2


def test_a_voice_that_breaks_down_is_told_as_failed_with_its_reason() -> None:
    desk = answered()
    desk.command(speak())
    desk.tell(facts.PlaybackEnded("id-1", "failed", "the voice worker ended"))
    assert ends(desk) == [("call.speak.ended", "failed", "the voice worker ended")]


def test_texts_count_among_the_sounds_that_wait() -> None:
    desk = answered()
    for _ in range(limits.PLAYBACKS_PER_LEG_MAX // 2):
        desk.command(PLAY)
        desk.command(speak())
    with pytest.raises(CommandError) as refused:
        desk.command(speak())
    assert refused.value.problem.code == "10027"


def test_nothing_is_said_into_a_codec_that_is_only_passed_on() -> None:
    desk = answered(codecs=CodecPolicy(("PCMU",), opaque=frozenset({"PCMU"})))
    with pytest.raises(CommandError) as refused:
        desk.command(speak())
    assert refused.value.problem.code == "10038"


def test_a_repeated_command_speaks_once() -> None:
    desk = answered()
    command = speak(command_id="once", client_state="c3RhdGU=")
    assert desk.command(command) == [do.OpenSpeak("id-1", OPTIONS)]
    assert desk.command(command) == []
    started = payload(desk.tell(facts.PlaybackStarted("id-1")), "call.speak.started")
    assert started["client_state"] == "c3RhdGU="
