"""Sounds one after the other: what is opened, what is told, and that each end is told once."""

from collections.abc import Iterable

import pytest

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.codecs import CodecPolicy
from offhook.call.errors import CommandError
from tests.fakes.legs import QUALITY, Desk, answered, dialling, kinds, media, payload, told

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


def test_every_sound_is_opened_at_once_and_told_by_itself() -> None:
    desk = answered()
    assert opened(desk.command(play())) == ["id-1"]
    assert opened(desk.command(play(overlay=True, url=None, name="bell"))) == ["id-2"]
    assert opened(desk.command(play())) == ["id-3"]
    started = payload(desk.tell(facts.PlaybackStarted("id-2")), "call.playback.started")
    assert (started["media_url"], started["media_name"], started["overlay"]) == (None, "bell", True)
    ended = payload(
        desk.tell(facts.PlaybackEnded("id-3", "file_not_found", "HTTP 404")), "call.playback.ended"
    )
    assert (ended["status"], ended["status_detail"]) == ("file_not_found", "HTTP 404")
    desk.tell(facts.PlaybackEnded("id-2", "completed"), facts.PlaybackEnded("id-1", "failed"))
    assert statuses(desk) == ["file_not_found", "completed", "failed"]


def test_stopping_the_current_sound_leaves_the_next() -> None:
    desk = answered()
    desk.command(play())
    desk.command(play())
    assert desk.command(ask.StopPlayback(stop=ask.StopWhich.CURRENT)) == [do.ClosePlayback("id-1")]
    assert desk.command(ask.StopPlayback(stop=ask.StopWhich.CURRENT)) == [], "it is being stopped"
    desk.tell(facts.PlaybackStarted("id-1"), facts.PlaybackEnded("id-1", "completed"))
    assert statuses(desk) == ["cancelled"]
    assert desk.command(ask.StopPlayback(stop=ask.StopWhich.CURRENT)) == [do.ClosePlayback("id-2")]


def test_stopping_all_stops_those_that_wait_and_no_overlay() -> None:
    desk = answered()
    for overlay in (False, True, False, True):
        desk.command(play(overlay=overlay))
    assert desk.command(ask.StopPlayback()) == [do.ClosePlayback("id-1"), do.ClosePlayback("id-3")]
    desk.tell(facts.PlaybackEnded("id-1", "cancelled"), facts.PlaybackEnded("id-3", "cancelled"))
    current = ask.StopPlayback(stop=ask.StopWhich.CURRENT, overlay=True)
    assert desk.command(current) == [do.ClosePlayback("id-2")]
    assert desk.command(ask.StopPlayback(overlay=True)) == [do.ClosePlayback("id-4")]
    desk.tell(facts.PlaybackEnded("id-2", "cancelled"), facts.PlaybackEnded("id-4", "completed"))
    assert statuses(desk) == ["cancelled"] * 4
    assert desk.command(ask.StopPlayback()) == [], "nothing is played"


@pytest.mark.parametrize(
    ("stop", "closed"), [(ask.StopWhich.CURRENT, ["id-1"]), (ask.StopWhich.ALL, ["id-1", "id-2"])]
)
def test_a_sound_may_take_the_place_of_others(stop: ask.StopWhich, closed: list[str]) -> None:
    desk = answered()
    desk.command(play())
    desk.command(play())
    effects = desk.command(play(stop))
    assert effects[:-1] == [do.ClosePlayback(each) for each in closed]
    assert opened(effects) == ["id-3"]


def test_what_the_called_hears_begins_with_the_answer() -> None:
    desk = dialling(playback=ask.PlaybackOptions(url=URL))
    effects = desk.tell(facts.CalleeAnswered("+15550002222", media()))
    assert opened(effects) == ["id-1"]
    assert told(effects) == ["call.answered"]


def test_the_end_of_the_call_ends_every_sound_before_the_hangup_is_told() -> None:
    desk = answered()
    desk.command(play())
    desk.command(play(overlay=True))
    desk.tell(facts.PlaybackStarted("id-1"))
    effects = desk.tell(facts.PeerHungUp())
    assert [each for each in effects if isinstance(each, do.ClosePlayback)] == [
        do.ClosePlayback("id-1"),
        do.ClosePlayback("id-2"),
    ]
    desk.tell(facts.MediaClosed(QUALITY), facts.PlaybackEnded("id-2", "cancelled"))
    assert "call.hangup" not in desk.events
    last = desk.tell(facts.PlaybackEnded("id-1", "completed"))
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
    with pytest.raises(CommandError):
        desk.command(play(ask.StopWhich.CURRENT))
    desk.tell(facts.PlaybackEnded("id-1", "cancelled"), facts.PlaybackEnded("id-2", "cancelled"))
    desk.command(play())


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
