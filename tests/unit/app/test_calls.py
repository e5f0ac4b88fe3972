"""Which calls are taken, what the others are told, and how long an ended one is remembered."""

import pytest

from offhook.base import limits
from offhook.base.errors import LimitReached
from offhook.call import commands as ask
from offhook.call.errors import CommandError
from offhook.call.values import UdpTarget
from offhook.edge.http.service import UnknownCall
from offhook.edge.speech.protocol import SpeechNotInstalled
from offhook.proto import sip
from offhook.proto.sdp import make_offer
from tests.fakes.runners import OFFER, HandClock, House

pytestmark = pytest.mark.unit


async def refused(house: House, status: int, cause: str, sdp: bytes | None = OFFER) -> None:
    """Assert that the next call is refused and nobody is told of it."""
    await house.settle()
    told = len(house.journal.done)
    house.invite(number=99, sdp=sdp)
    await house.settle()
    assert house.sip.rejected == [status]
    assert house.calls.refused_total == {cause: 1}
    assert house.journal.done[told:] == ["reject"]


async def test_a_draining_server_takes_no_new_call_and_keeps_the_old() -> None:
    house = House()
    house.invite()
    house.calls.stop_accepting()
    await refused(house, 503, "draining")
    assert len(house.calls) == 1
    assert house.calls.health() == {"status": "draining", "calls": 1}


async def test_a_full_server_takes_no_new_call() -> None:
    house = House(flags={"limits": {"legs": 1}})
    house.invite()
    await refused(house, 503, "too_many_calls")
    assert len(house.calls) == 1


async def test_a_call_that_no_app_would_hear_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fakes.runners.WEBHOOKS", {})
    house = House()
    await refused(house, 480, "no_webhook_url")
    house.assert_nothing_left()


async def test_a_call_in_no_codec_of_ours_is_refused() -> None:
    offer = make_offer(["PCMU"], address="192.0.2.2", rtp_port=4000, rtcp_port=4001, session_id=1)
    strange = offer.replace(b"PCMU/8000", b"EVS/16000").replace(b"RTP/AVP 0", b"RTP/AVP 96")
    house = House()
    await refused(house, 488, "no_common_codec", strange.replace(b"rtpmap:0 ", b"rtpmap:96 "))
    house.assert_nothing_left()


async def test_an_offer_of_the_other_ip_version_is_refused() -> None:
    elsewhere = OFFER.replace(b"IN IP4 192.0.2.2", b"IN IP6 2001:db8::2")
    await refused(House(), 488, "other_ip_version", elsewhere)


@pytest.mark.parametrize("sdp", [b"", b"\xff\xfe", b"v=0\r\nm=audio x RTP/AVP 0\r\n"])
async def test_a_call_with_a_broken_description_is_refused(sdp: bytes) -> None:
    house = House()
    await refused(house, 400, "malformed_sdp", sdp)
    house.assert_nothing_left()


async def test_an_ended_call_is_remembered_for_ten_minutes() -> None:
    house = House()
    house.invite()
    call = house.call_control_id
    house.calls.command(call, "hangup", ask.Hangup())
    await house.settle()
    clock = house.clock
    assert isinstance(clock, HandClock)
    clock.at_s += limits.ENDED_LEGS_KEPT_S - 1
    status = house.calls.status(call)
    assert status is not None
    assert status["is_alive"] is False
    with pytest.raises(CommandError, match="90018"):
        house.calls.command(call, "answer", ask.Answer())
    clock.at_s += 2
    assert house.calls.status(call) is None
    with pytest.raises(UnknownCall):
        house.calls.command(call, "answer", ask.Answer())


async def test_no_more_ended_calls_are_remembered_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENDED_LEGS_KEPT_MAX", 2)
    house = House()
    ended = []
    for number in range(3):
        house.invite(number)
        ended.append(house.call_control_id)
        house.calls.command(ended[-1], "hangup", ask.Hangup())
        await house.settle()
    assert [house.calls.status(call) is not None for call in ended] == [False, True, True]


async def test_events_of_a_call_that_is_over_are_nobodys() -> None:
    house = House()
    call = house.invite()
    house.calls.on_sip_event(sip.CallCancelled(call, None, ()))
    await house.settle()
    house.assert_nothing_left()
    for event in (
        sip.CallEstablished(call, None),
        sip.AckTimedOut(call),
        sip.OfferReceived(call, OFFER),
        sip.CallEnded(call, by_peer=True, reason="", headers=()),
    ):
        house.calls.on_sip_event(event)
    await house.settle()
    assert house.journal.done == ["ring", "call.initiated", "call.hangup"]


async def test_ending_all_calls_ends_each_as_its_state_wants() -> None:
    house = House()
    house.invite(1)
    house.calls.command(house.call_control_id, "answer", ask.Answer())
    house.invite(2)
    await house.settle()
    house.calls.hang_up_all()
    await house.settle()
    await house.calls.wait_until_none()
    assert house.sip.rejected == [603]
    assert house.journal.done.count("hangup") == 1
    house.assert_nothing_left()


async def test_transcription_that_cannot_be_done_is_refused_before_anything_happens() -> None:
    house = House()
    house.invite()
    call = house.call_control_id
    house.services.speech._out_of_order["scripted"] = SpeechNotInstalled("install it")
    with pytest.raises(CommandError, match=r"10038.*install it"):
        house.calls.command(call, "x", ask.Answer(transcription=ask.TranscriptionOptions(), command_id="c"))
    with pytest.raises(CommandError, match="90034"):
        house.calls.command(call, "x", ask.StartTranscription(transcription=ask.TranscriptionOptions()))
    house.calls.command(call, "answer", ask.Answer(command_id="c"))
    await house.settle()
    assert house.journal.done[-1] == "accept", "the refused command's id was not remembered"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sip:+15550001111@192.0.2.2", "+15550001111"),
        ("sip:%2B15550001111@192.0.2.2", "+15550001111"),
        ("sip:5550001111;phone-context=x@192.0.2.2;user=phone", "5550001111"),
        ("sip:5550001111:pass@192.0.2.2", "5550001111"),
        ("tel:+15550001111;ext=1", "+15550001111"),
        ("sip:alice;day=monday@example.org;transport=tcp?a=b", "sip:alice@example.org"),
        ("sips:alice:secret@example.org:5071", "sip:alice@example.org:5071"),
        ("sip:192.0.2.2:5060", "sip:192.0.2.2:5060"),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:db8::1]"),
    ],
)
async def test_a_caller_is_shown_as_a_number_or_as_an_address(uri: str, shown: str) -> None:
    house = House()
    house.invite(from_uri=uri)
    await house.settle()
    [[(_, payload)]] = house.outbox.by_leg.values()
    assert payload["from"] == shown


async def test_forks_to_one_host_are_limited_in_rate_and_a_repeated_command_counts_once() -> None:
    house = House(flags={"limits": {"forks_per_s": 2}})
    call = house.invite()
    house.calls.command(house.call_control_id, "answer", ask.Answer())
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()

    def fork(number: int) -> ask.Reply:
        target = UdpTarget("192.0.2.50", 4000 + number)
        asked = ask.StartFork(target=target, command_id=f"fork-{number}")
        return house.calls.command(house.call_control_id, "fork_start", asked)

    assert not fork(1).duplicate
    assert [fork(1).duplicate for _ in range(10)] == [True] * 10
    assert not fork(2).duplicate
    with pytest.raises(LimitReached):
        fork(3)
    assert fork(1).duplicate
    assert house.calls.fork_rate.refused_total == 1
    house.calls.hang_up_all()
    await house.settle()
    house.assert_nothing_left()
