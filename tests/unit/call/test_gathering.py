"""What a leg gathers of the keys that are pressed, and how each entry ends."""

from typing import Any

import pytest

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.errors import CommandError
from tests.fakes.legs import Desk, answered, payload, told

pytestmark = pytest.mark.unit


def gathering(**wanted: Any) -> Desk:
    desk = answered()
    assert desk.command(ask.Gather(**{"gather_id": "pin", **wanted})) == []
    return desk


def press(desk: Desk, keys: str) -> list[do.Effect]:
    """Press keys, and return what the last one led to."""
    effects: list[do.Effect] = []
    for key in keys:
        effects = desk.tell(facts.DigitReceived(key))
    return effects


def ended(effects: list[do.Effect]) -> tuple[str, str]:
    """Return how the entry ended and what was pressed."""
    end = payload(effects, "call.gather.ended")
    return end["status"], end["digits"]


@pytest.mark.parametrize(
    ("wanted", "keys", "expected"),
    [
        ({}, "123#", ("valid", "123")),
        ({"maximum_digits": 4}, "1234", ("valid", "1234")),
        ({"minimum_digits": 3}, "12#", ("invalid", "12")),
        ({}, "#", ("invalid", "")),
        ({"valid_digits": "123", "maximum_digits": 3}, "129", ("invalid", "129")),
        ({"valid_digits": "123"}, "A1#", ("invalid", "A1")),
        ({"terminating_digit": "*"}, "1#*", ("valid", "1#")),
        ({"terminating_digit": "", "maximum_digits": 2}, "1#", ("valid", "1#")),
        ({"terminating_digit": "A", "valid_digits": "A1"}, "1A", ("valid", "1")),
    ],
)
def test_an_entry_ends_with_its_last_key_and_is_valid_when_the_keys_are_enough_and_right(
    wanted: dict[str, Any], keys: str, expected: tuple[str, str]
) -> None:
    desk = gathering(**wanted)
    press(desk, keys[:-1])
    assert "call.gather.ended" not in desk.events
    effects = press(desk, keys[-1])
    assert told(effects) == ["call.dtmf.received", "call.gather.ended"], "the key is told first"
    assert ended(effects) == expected
    assert told(press(desk, "5")) == ["call.dtmf.received"], "an entry ends once"


def test_the_end_says_whose_entry_it_was() -> None:
    desk = answered()
    desk.command(ask.Gather(client_state="eA=="))
    end = payload(press(desk, "1#"), "call.gather.ended")
    assert end == {**end, "from": "+15550001111", "to": "+15550002222", "client_state": "eA=="}
    assert end["gather_id"], "an entry without a name of the app's gets one"
    assert payload(press(gathering(), "1#"), "call.gather.ended")["gather_id"] == "pin"


def test_nothing_pressed_in_time_is_a_timeout() -> None:
    desk = gathering(initial_timeout_s=5.0)
    assert desk.leg.poll_timeout() == desk.now + 5.0
    assert desk.wait(4.9) == []
    assert ended(desk.wait(0.1)) == ("timeout", "")
    assert desk.wait(0.0) == []


@pytest.mark.parametrize(("least", "status"), [(2, "valid"), (3, "invalid")])
def test_a_pause_after_a_key_ends_the_entry_by_what_was_pressed(least: int, status: str) -> None:
    desk = gathering(minimum_digits=least, initial_timeout_s=9.0, inter_digit_timeout_s=2.0)
    desk.wait(8.0)
    press(desk, "1")
    desk.wait(1.9)
    press(desk, "2")
    assert desk.wait(1.9) == []
    assert ended(desk.wait(0.1)) == (status, "12")


def test_keys_do_not_prolong_the_time_for_all_of_them() -> None:
    desk = gathering(timeout_s=6.0, inter_digit_timeout_s=5.0)
    for _ in range(2):
        desk.wait(2.5)
        press(desk, "1")
    assert ended(desk.wait(1.0)) == ("valid", "11")


@pytest.mark.parametrize("end", [ask.StopGather(), ask.Gather(gather_id="next")])
def test_an_entry_that_is_stopped_or_replaced_is_cancelled_with_what_was_pressed(end: ask.Command) -> None:
    desk = gathering()
    press(desk, "12")
    effects = desk.command(end)
    assert ended(effects) == ("cancelled", "12")
    after = told(press(desk, "3#"))
    assert after == ["call.dtmf.received", *["call.gather.ended"] * isinstance(end, ask.Gather)]


def test_stopping_without_an_entry_changes_nothing() -> None:
    assert answered().command(ask.StopGather()) == []


@pytest.mark.parametrize("fact", [facts.PeerHungUp(), facts.MediaFailed("x"), None])
def test_the_end_of_the_call_ends_the_entry_before_call_hangup(fact: facts.Fact | None) -> None:
    desk = gathering()
    press(desk, "12")
    effects = desk.command(ask.Hangup()) if fact is None else desk.tell(fact)
    assert ended(effects) == ("call_hangup", "12")
    desk.tell(facts.MediaClosed())
    assert desk.events[-2:] == ["call.gather.ended", "call.hangup"]
    assert desk.wait(100.0) == []


# Prompts

PROMPT = ask.PlaybackOptions(url="https://app.example/pin.wav")
WRONG = ask.SpeakOptions(script=(), voice="female")


def asking(**wanted: Any) -> Desk:
    """Return a desk whose caller hears a prompt, of two tries unless `wanted` says else."""
    desk = answered()
    asked = {"prompt": PROMPT, "tries": 2, "initial_timeout_s": 6.0, "timeout_s": 14_400.0, **wanted}
    effects = desk.command(ask.Gather(**asked))
    assert opened(effects) == [PROMPT]
    return desk


def opened(effects: list[do.Effect]) -> list[ask.PlaybackOptions | ask.SpeakOptions]:
    """Return what begins to be said."""
    return [each.options for each in effects if isinstance(each, do.OpenPlayback | do.OpenSpeak)]


def saying(desk: Desk) -> list[str]:
    """Return the ids of what has been said or waits to be, by age."""
    return [each.playback_id for each in desk.done if isinstance(each, do.OpenPlayback | do.OpenSpeak)]


def say(desk: Desk, status: str = "completed") -> None:
    """Let all prompts come to their end."""
    for playback_id in saying(desk):
        desk.tell(facts.PlaybackStarted(playback_id), facts.PlaybackEnded(playback_id, status))


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_the_wait_begins_when_the_prompt_is_over_whatever_became_of_it(status: str) -> None:
    desk = asking(tries=1)
    assert desk.wait(1_000.0) == []
    say(desk, status)
    assert desk.wait(5.9) == []
    assert ended(desk.wait(0.1)) == ("timeout", "")
    assert desk.events.count("call.playback.ended") == 1


def test_the_first_key_ends_the_prompt_and_counts() -> None:
    desk = asking(maximum_digits=2)
    (prompt,) = saying(desk)
    effects = desk.tell(facts.DigitReceived("4"))
    assert do.ClosePlayback(prompt) in effects
    desk.tell(facts.PlaybackEnded(prompt, "cancelled"))
    assert desk.leg.poll_timeout() == desk.now + 5.0, "the end of the prompt is no new beginning"
    assert ended(press(desk, "2")) == ("valid", "42")


def test_silence_and_wrong_keys_lead_to_the_next_prompt_until_no_try_is_left() -> None:
    desk = asking(tries=3, invalid_prompt=WRONG, minimum_digits=2)
    say(desk)
    assert opened(desk.wait(6.0)) == [PROMPT], "nothing was pressed"
    say(desk)
    assert opened(press(desk, "1#")) == [WRONG, PROMPT], "too few keys"
    assert desk.leg.poll_timeout() != desk.now + 6.0
    say(desk)
    assert ended(press(desk, "9#")) == ("invalid", "9"), "only the last try is told"
    assert desk.events.count("call.gather.ended") == 1


def test_all_that_is_being_said_ends_with_a_key() -> None:
    desk = asking(invalid_prompt=WRONG, minimum_digits=2)
    press(desk, "#")
    closed = [each.playback_id for each in press(desk, "1") if isinstance(each, do.ClosePlayback)]
    assert closed == saying(desk)[1:]
    assert len(closed) == 2


@pytest.mark.parametrize(
    ("end", "status"),
    [(ask.StopGather(), "cancelled"), (ask.Gather(), "cancelled"), (ask.Hangup(), "call_hangup")],
)
def test_a_prompt_ends_with_its_entry(end: ask.Command, status: str) -> None:
    desk = asking()
    (prompt,) = saying(desk)
    effects = desk.command(end)
    assert effects.count(do.ClosePlayback(prompt)) == 1
    assert ended(effects) == (status, "")


def test_a_prompt_that_the_app_stops_is_over() -> None:
    desk = asking(tries=1)
    assert desk.command(ask.StopPlayback()) == [do.ClosePlayback(saying(desk)[0])]
    desk.tell(facts.PlaybackEnded(saying(desk)[0], "cancelled"))
    assert desk.leg.poll_timeout() == desk.now + 6.0


def test_a_call_with_too_much_to_play_is_asked_nothing() -> None:
    desk = answered()
    for _ in range(limits.PLAYBACKS_PER_LEG_MAX):
        desk.command(ask.StartPlayback(playback=PROMPT))
    with pytest.raises(CommandError) as refused:
        desk.command(ask.Gather(prompt=PROMPT))
    assert refused.value.problem.code == "10027"
    assert len(desk.command(ask.Gather())) == 0, "without a prompt there is room"
