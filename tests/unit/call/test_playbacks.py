"""Sounds one after the other: what is opened, what is told, and that each end is told once."""

from collections.abc import Iterable

import pytest

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.codecs import CodecPolicy
from offhook.call.errors import CommandError
from tests.fakes.legs import QUALITY, Desk, answered, kinds, payload, told

pytestmark = pytest.mark.unit

URL = "https://app.example/hello.wav"


def play(stop: ask.StopWhich | None = None, **options: object) -> ask.StartPlayback:
    return ask.StartPlayback(playback=ask.PlaybackOptions(**{"url": URL, **options}), stop=stop)  # type: ignore[arg-type]


def opened(effects: Iterable[do.Effect]) -> list[str]:
    return [effect.playback_id for effect in effects if isinstance(effect, do.OpenPlayback)]


def statuses(desk: Desk) -> list[str]:
    notices = [effect for effect in desk.done if isinstance(effect, do.Notify)]
    return [each.payload["status"] for each in notices if each.event_type == "call.playback.ended"]


def test_a_sound_is_told_when_it_is_heard_and_when_it_is_over() -> None:
    desk = answered()
    assert kinds(desk.command(play())) == [do.OpenPlayback]
    started = payload(desk.tell(facts.PlaybackStarted("id-1")), "call.playback.started")
    assert (started["media_url"], started["media_name"], started["overlay"]) == (URL, None, False)
    ended = payload(desk.tell(facts.PlaybackEnded("id-1", "completed")), "call.playback.ended")
    assert (ended["media_url"], ended["status"], ended["status_detail"]) == (URL, "completed", "")
    assert desk.tell(facts.PlaybackEnded("id-1", "completed")) == []


def test_the_next_sound_waits_for_the_end_of_the_last() -> None:
    desk = answered()
    assert opened(desk.command(play())) == ["id-1"]
    assert desk.command(play()) == []
    assert opened(desk.tell(facts.PlaybackEnded("id-1", "file_not_found", "HTTP 404"))) == ["id-2"]
    assert statuses(desk) == ["file_not_found"]


def test_stopping_the_current_sound_lets_the_next_begin() -> None:
    desk = answered()
    desk.command(play())
    desk.command(play())
    assert desk.command(ask.StopPlayback(stop=ask.StopWhich.CURRENT)) == [do.ClosePlayback("id-1")]
    assert desk.command(ask.StopPlayback(stop=ask.StopWhich.CURRENT)) == [], "it is being stopped"
    effects = desk.tell(facts.PlaybackStarted("id-1"), facts.PlaybackEnded("id-1", "completed"))
    assert opened(effects) == ["id-2"]
    assert statuses(desk) == ["cancelled"]


def test_stopping_all_tells_the_end_of_those_that_wait() -> None:
    desk = answered()
    for _ in range(3):
        desk.command(play())
    effects = desk.command(ask.StopPlayback())
    assert kinds(effects) == [do.Notify, do.Notify, do.ClosePlayback]
    assert desk.tell(facts.PlaybackEnded("id-1", "cancelled"))[1:] == []
    assert statuses(desk) == ["cancelled"] * 3
    assert desk.command(ask.StopPlayback()) == [], "nothing is played"


@pytest.mark.parametrize(("stop", "next_id"), [(ask.StopWhich.CURRENT, "id-2"), (ask.StopWhich.ALL, "id-3")])
def test_a_sound_may_take_the_place_of_others(stop: ask.StopWhich, next_id: str) -> None:
    desk = answered()
    desk.command(play())
    desk.command(play())
    assert do.ClosePlayback("id-1") in desk.command(play(stop))
    assert opened(desk.tell(facts.PlaybackEnded("id-1", "cancelled"))) == [next_id]


def test_the_end_of_the_call_ends_every_sound_before_the_hangup_is_told() -> None:
    desk = answered()
    desk.command(play())
    desk.command(play())
    desk.tell(facts.PlaybackStarted("id-1"))
    effects = desk.tell(facts.PeerHungUp())
    assert do.ClosePlayback("id-1") in effects
    desk.tell(facts.MediaClosed(QUALITY))
    assert "call.hangup" not in desk.events
    last = desk.tell(facts.PlaybackEnded("id-1", "cancelled"))
    assert told(last) == ["call.playback.ended", "call.hangup"]
    assert statuses(desk) == ["call_hangup"] * 2


def test_a_sound_that_never_reports_its_end_holds_the_call_up_no_longer_than_a_tap() -> None:
    desk = answered()
    desk.command(play())
    desk.tell(facts.PeerHungUp(), facts.MediaClosed(QUALITY))
    assert told(desk.wait(limits.ENDING_TIMEOUT_S)) == ["call.playback.ended", "call.hangup"]


def test_the_sounds_that_wait_are_bounded() -> None:
    desk = answered()
    for _ in range(limits.PLAYBACKS_PER_LEG_MAX):
        desk.command(play())
    with pytest.raises(CommandError) as refused:
        desk.command(play())
    assert refused.value.problem.code == "10027"
    desk.command(play(ask.StopWhich.ALL))
    assert len(statuses(desk)) == limits.PLAYBACKS_PER_LEG_MAX - 1


def test_nothing_is_played_into_a_codec_that_is_only_passed_on() -> None:
    desk = answered(codecs=CodecPolicy(("PCMU",), opaque=frozenset({"PCMU"})))
    with pytest.raises(CommandError) as refused:
        desk.command(play())
    assert refused.value.problem.code == "10038"


def test_a_repeated_command_plays_once() -> None:
    desk = answered()
    command = ask.StartPlayback(playback=ask.PlaybackOptions(url=URL), command_id="once")
    assert opened(desk.command(command)) == ["id-1"]
    assert desk.command(command) == []
