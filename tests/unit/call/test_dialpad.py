"""Which keys a leg takes, and by which way they go."""

from dataclasses import replace

import pytest

from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call.ability import Compat, LegContext
from offhook.call.codecs import CodecPolicy
from offhook.call.dialpad import Dialpad, seconds_of
from offhook.call.errors import CommandError
from offhook.call.payloads import CallRecord
from offhook.call.values import Direction
from offhook.proto.sdp import NegotiatedMedia
from tests.fakes.legs import IDENTITY, START, answered, incoming, media

pytestmark = pytest.mark.unit

RECORD = CallRecord(IDENTITY, Direction.INCOMING, incoming(), START)


def test_keys_take_their_time_and_pauses_theirs() -> None:
    assert seconds_of("1", 250) == pytest.approx(0.35)
    assert seconds_of("1wW#", 100) == pytest.approx(0.2 + 0.5 + 1.0 + 0.2)


def test_a_call_without_telephone_event_is_given_tones() -> None:
    (press,) = answered().command(ask.SendDigits(digits="1w#", duration_ms=100))
    assert press == do.SendDigits("1w#", 100, in_band=True)


def dialpad(agreed: NegotiatedMedia, *, opaque: frozenset[str] = frozenset()) -> Dialpad:
    codecs = CodecPolicy(opaque=opaque)
    return Dialpad(LegContext(IDENTITY, "user", codecs, str, Compat(), record=RECORD, media=agreed))


def test_telephone_event_is_used_where_it_was_agreed_on() -> None:
    agreed = replace(media(), dtmf_payload_type=101)
    _, effects = dialpad(agreed).carry_out(ask.SendDigits(digits="5"), START)
    assert effects == [do.SendDigits("5", 250, in_band=False)]


def test_a_codec_that_is_only_passed_on_takes_no_tones() -> None:
    command = ask.SendDigits(digits="5")
    with pytest.raises(CommandError) as refused:
        dialpad(media(), opaque=frozenset({"PCMU"})).check(command, START)
    assert refused.value.problem.code == "10038"
    events = replace(media(), dtmf_payload_type=101)
    dialpad(events, opaque=frozenset({"PCMU"})).check(command, START)


def test_the_keys_that_wait_are_bounded_and_make_room_as_time_passes() -> None:
    desk = answered(codecs=CodecPolicy(("PCMU",)))
    most = int(limits.DIGITS_WAITING_S_MAX) // limits.DIGITS_PER_COMMAND_MAX
    for _ in range(most):
        desk.command(ask.SendDigits(digits="W" * limits.DIGITS_PER_COMMAND_MAX))
    with pytest.raises(CommandError) as refused:
        desk.command(ask.SendDigits(digits="W" * limits.DIGITS_PER_COMMAND_MAX, command_id="again"))
    assert (refused.value.problem.code, refused.value.problem.pointer) == ("90014", "/digits")
    desk.wait(limits.DIGITS_WAITING_S_MAX)
    assert len(desk.command(ask.SendDigits(digits="W" * 100, command_id="again"))) == 1
    assert desk.command(ask.SendDigits(digits="W" * 100, command_id="again")) == [], "repeated, not pressed"


def test_nothing_is_told_of_keys_but_the_client_state_is_kept() -> None:
    desk = answered()
    told = len(desk.events)
    desk.command(ask.SendDigits(digits="1", client_state="eA=="))
    assert len(desk.events) == told
    assert desk.leg.client_state == "eA=="
