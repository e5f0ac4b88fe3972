"""What a runner does with a leg's decisions: in order, each to its edge, nothing left over."""

import asyncio
from typing import Any

import pytest

from offhook.app.runner import LegRunner
from offhook.base import limits
from offhook.call import commands as ask
from offhook.call import facts
from offhook.call.values import Track, UdpTarget
from offhook.edge.media.engine import MediaError
from offhook.proto import sip
from offhook.proto.sdp import SessionDescription, make_offer
from tests.fakes.runners import OFFER, House
from tests.fakes.virtual_time import VirtualTimeLoop, run_simulation

pytestmark = pytest.mark.unit

TARGET = UdpTarget("192.0.2.9", 7000)
STREAM = ask.StartStream(stream=ask.StreamOptions(url="ws://app.example/media"))


def command(house: House, what: ask.Command) -> None:
    """Let the app ask for something."""
    house.calls.command(house.call_control_id, type(what).__name__, what)


async def answered(house: House) -> sip.CallHandle:
    """Bring a call to `answered`."""
    call = house.invite()
    command(house, ask.Answer(silence_when_idle=True))
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    await house.settle()
    return call


def runner(house: House) -> LegRunner:
    return house.calls._runners[house.call_control_id]


def transcript(text: str, *, is_final: bool) -> facts.TranscriptReady:
    return facts.TranscriptReady(Track.RX, text, 0.9, is_final, "u-1", 0, 100, "en", "Google", "local")


async def test_effects_run_in_the_order_decided() -> None:
    house = House()
    house.egress.answer.set()
    call = await answered(house)
    command(house, ask.StartFork(rx=TARGET, tx=TARGET))
    await house.settle()
    command(house, ask.Hangup())
    await house.settle()
    assert house.journal.done == [
        "ring",
        "call.initiated",
        "open leg",
        "accept",
        "call.answered",
        "add fork",
        "call.fork.started",
        "hangup",
        "close leg",
        "call.fork.stopped",
        "call.hangup",
    ]
    house.calls.on_sip_event(sip.CallEnded(call, by_peer=False, reason="", headers=()))
    house.assert_nothing_left()


def test_a_slow_outbox_delays_what_was_decided_later_and_reorders_nothing() -> None:
    async def scenario() -> None:
        house = House(clock=loop)
        house.outbox.delay_s = 1.0
        house.invite()
        command(house, ask.Answer())
        await asyncio.sleep(0.5)
        assert house.journal.done == ["ring"], "the answer waits until call.initiated is durable"
        await asyncio.sleep(1.0)
        assert house.journal.done == ["ring", "call.initiated", "open leg", "accept"]
        command(house, ask.Hangup())
        await asyncio.sleep(5.0)
        house.assert_nothing_left()

    loop = VirtualTimeLoop()
    run_simulation(scenario(), loop)


def test_a_disk_that_hangs_holds_up_no_call() -> None:
    async def scenario() -> None:
        house = House(clock=loop)
        house.outbox.delay_s = 60.0
        call = house.invite()
        command(house, ask.Answer())
        await asyncio.sleep(limits.EVENT_STORED_TIMEOUT_S + 0.1)
        house.calls.on_sip_event(sip.CallEstablished(call, None))
        command(house, ask.Hangup())
        await asyncio.sleep(2 * limits.EVENT_STORED_TIMEOUT_S + 0.1)
        assert house.journal.done == ["ring", "open leg", "accept", "hangup", "close leg"]
        assert len(house.calls) == 0
        assert house.services.counters["events_stored_late_total"] == 3
        await asyncio.sleep(60.0)
        assert house.journal.done[5:] == ["call.initiated", "call.answered", "call.hangup"], "in order"
        house.assert_nothing_left()

    loop = VirtualTimeLoop()
    run_simulation(scenario(), loop)


async def test_a_slow_name_server_does_not_delay_the_hangup() -> None:
    house = House()
    await answered(house)
    command(house, STREAM)
    await house.settle()
    assert house.egress.asked == 1
    command(house, ask.Hangup())
    await house.settle()
    assert house.journal.done[-3:] == ["hangup", "close leg", "call.hangup"]
    assert "add stream" not in house.journal.done
    house.assert_nothing_left()
    house.egress.answer.set()
    await house.settle()
    assert house.journal.done[-1] == "call.hangup", "a late answer is nobody's any more"


async def test_a_stream_stopped_during_its_look_up_never_connects() -> None:
    house = House()
    await answered(house)
    command(house, STREAM)
    await house.settle()
    command(house, ask.StopStream())
    house.egress.answer.set()
    await house.settle()
    assert "add stream" not in house.journal.done
    kinds = [kind for kind in house.journal.done if kind.startswith("streaming.")]
    assert kinds == [], "nothing had started"
    command(house, ask.Hangup())
    await house.settle()
    house.assert_nothing_left()


def stream_of(house: House) -> tuple[int, int]:
    """Return leg and tap of the only stream, as the media engine knows them."""
    ((leg_id, leg),) = house.media.legs.items()
    (tap_id,) = leg.taps
    return leg_id, tap_id


def told(house: House, kind: str) -> list[dict[str, Any]]:
    return [payload for events in house.outbox.by_leg.values() for name, payload in events if name == kind]


async def streaming(house: House, **options: Any) -> tuple[int, int]:
    house.egress.answer.set()
    await answered(house)
    command(house, ask.StartStream(stream=ask.StreamOptions(url="ws://app.example/media", **options)))
    await house.settle()
    assert len(told(house, "streaming.started")) == 1
    return stream_of(house)


@pytest.mark.parametrize("found_again", [True, False])
async def test_a_lost_socket_is_told_to_nobody_until_it_is_lost_for_good(found_again: bool) -> None:
    house = House()
    stream = await streaming(house)
    house.media.lose_stream(*stream)
    await house.settle()
    assert shown(house)["state"] == "reconnecting"
    assert house.journal.done[-1] == "streaming.started"
    if found_again:
        house.media.connect_stream(*stream)
        await house.settle()
        assert shown(house)["state"] == "begun"
        assert house.media.stream(*stream).frames[-1]["start"]["reconnect"] == 1
    else:
        house.media.fail_stream(*stream, "connection_lost", "given up after 5 tries; the last: refused")
        await house.settle()
    command(house, ask.Hangup())
    await house.settle()
    assert len(told(house, "streaming.started")) == 1
    assert len(told(house, "streaming.stopped")) == found_again
    assert [failed["failure_reason"] for failed in told(house, "streaming.failed")] == (
        [] if found_again else ["connection_lost"]
    )
    house.assert_nothing_left()


async def test_a_stream_that_may_not_reconnect_fails_with_its_socket() -> None:
    house = House()
    house.media.lose_stream(*await streaming(house, reconnect=False))
    await house.settle()
    assert [failed["failure_reason"] for failed in told(house, "streaming.failed")] == ["connection_lost"]


@pytest.mark.parametrize("ending", [ask.StopStream(), ask.Hangup()])
async def test_a_stream_that_seeks_a_socket_is_stopped_at_once(ending: ask.Command) -> None:
    house = House()
    house.media.lose_stream(*await streaming(house))
    await house.settle()
    command(house, ending)
    await house.settle()
    assert len(told(house, "streaming.stopped")) == 1
    assert told(house, "streaming.failed") == []


def shown(house: House) -> dict[str, Any]:
    """Return the only stream as `GET /v2/offhook/streams` shows it."""
    (item,), _ = house.services.stream_book.page(call_control_id=None, wanted="live", first=0, count=9)
    return item


async def test_a_name_that_is_unknown_fails_the_stream_and_nothing_else() -> None:
    house = House()
    house.egress.known = False
    house.egress.answer.set()
    await answered(house)
    command(house, STREAM)
    await house.settle()
    leg = next(iter(house.outbox.by_leg))
    failed = dict(house.outbox.by_leg[leg])["streaming.failed"]
    assert failed["failure_reason"] == "connection_failed"
    assert "app.example" in failed["failure_detail"]
    assert len(house.calls) == 1


@pytest.mark.parametrize("edge", ["hangup", "accept"])
async def test_an_effect_that_raises_does_not_keep_the_call_from_ending(edge: str) -> None:
    house = House()
    house.sip.broken.add(edge)
    house.invite()
    command(house, ask.Answer())
    await house.settle()
    command(house, ask.Hangup())
    await house.settle()
    assert house.journal.done[-2:] == ["close leg", "call.hangup"]
    assert house.services.counters["effects_failed_total"] == 1
    house.assert_nothing_left()


async def test_without_a_free_port_the_caller_gets_500_and_the_app_the_reason() -> None:
    house = House()
    house.media.full = True
    house.invite()
    command(house, ask.Answer())
    await house.settle()
    assert house.sip.rejected == [500]
    assert "accept" not in house.journal.done
    leg = next(iter(house.outbox.by_leg))
    assert house.outbox.types(leg) == ["call.initiated", "call.hangup"]
    hangup = house.outbox.by_leg[leg][-1][1]
    assert (hangup["hangup_cause"], hangup["sip_hangup_cause"]) == ("unspecified", "500")
    house.assert_nothing_left()


async def test_a_full_queue_loses_interim_transcripts_only_and_counts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "EFFECTS_QUEUED_PER_LEG_MAX", 10)
    house = House()
    await answered(house)
    options = ask.TranscriptionOptions(interim_results=True)
    command(house, ask.StartTranscription(transcription=options))
    await house.settle()
    for number in range(30):
        runner(house).feed(transcript(f"interim {number}", is_final=False))
        runner(house).feed(transcript(f"final {number}", is_final=True))
    await house.settle()
    leg = next(iter(house.outbox.by_leg))
    told = [
        payload["transcription_data"]
        for kind, payload in house.outbox.by_leg[leg]
        if kind == "call.transcription"
    ]
    finals = [item["transcript"] for item in told if item["is_final"]]
    assert finals == [f"final {number}" for number in range(30)], "in order, none lost"
    interims = [item for item in told if not item["is_final"]]
    assert 0 < len(interims) < 30
    assert house.services.counters["interim_transcripts_dropped_total"] == 30 - len(interims)


async def test_nothing_is_left_of_a_call_with_every_tap() -> None:
    house = House()
    house.egress.answer.set()
    call = await answered(house)
    command(house, STREAM)
    command(house, ask.StartFork(rx=TARGET, tx=TARGET))
    command(house, ask.StartTranscription(transcription=ask.TranscriptionOptions()))
    await house.settle()
    assert house.services.speech.counters()["sessions_open"] == 1
    house.calls.on_sip_event(sip.CallEnded(call, by_peer=True, reason="", headers=()))
    await house.settle()
    leg = next(iter(house.outbox.by_leg))
    types = house.outbox.types(leg)
    assert types[-1] == "call.hangup"
    assert sorted(types[2:-1]) == [
        "call.fork.started",
        "call.fork.stopped",
        "streaming.started",
        "streaming.stopped",
    ]
    house.assert_nothing_left()


def both(first: str, second: str) -> bytes:
    """Return an offer of two codecs."""
    return make_offer([first, second], address="192.0.2.2", rtp_port=40_000, rtcp_port=40_001, session_id=1)


async def test_a_re_invite_keeps_the_codec_in_use_while_it_is_offered() -> None:
    house = House()
    call = house.invite(sdp=both("PCMU", "PCMA"))
    command(house, ask.Answer(preferred_codecs=("PCMA",)))
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    hold = both("PCMU", "PCMA").replace(b"a=sendrecv", b"a=sendonly")
    house.calls.on_sip_event(sip.OfferReceived(call, hold))
    assert house.journal.done[-1] == "answer offer"
    [leg] = house.media.legs.values()
    assert leg.codec == "PCMA"
    assert leg.sending is False, "on hold nobody listens to us"


async def test_a_re_invite_to_another_codec_is_told_by_the_forks_of_later() -> None:
    house = House()
    call = house.invite(sdp=both("PCMU", "PCMA"))
    command(house, ask.Answer())
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, None))
    only_pcma = make_offer(["PCMA"], address="192.0.2.2", rtp_port=40_000, rtcp_port=40_001, session_id=1)
    house.calls.on_sip_event(sip.OfferReceived(call, only_pcma))
    command(house, ask.StartFork(rx=TARGET, tx=TARGET))
    await house.settle()
    [told] = house.outbox.by_leg.values()
    started = dict(told)["call.fork.started"]
    assert (started["codec"], started["payload_type"]) == ("PCMA", 8)


@pytest.mark.parametrize(
    "offer",
    [
        b"",
        b"\xff not sdp",
        OFFER.replace(b" 0 101", b" 96 101").replace(b":0 PCMU", b":96 OPUS"),
        OFFER.replace(b"IN IP4 192.0.2.2", b"IN IP6 2001:db8::2"),
    ],
)
async def test_a_re_invite_that_cannot_be_met_changes_nothing(offer: bytes) -> None:
    house = House()
    call = await answered(house)
    house.calls.on_sip_event(sip.OfferReceived(call, offer))
    assert house.journal.done[-1] == "refuse offer"
    [leg] = house.media.legs.values()
    assert (leg.codec, leg.remote_rtp) == ("PCMU", "192.0.2.2:40000")
    command(house, ask.Hangup())
    await house.settle()
    house.assert_nothing_left()


async def test_a_re_invite_without_an_offer_gets_ours_and_its_answer_is_used() -> None:
    house = House()
    call = await answered(house)
    house.calls.on_sip_event(sip.OfferReceived(call, None))
    assert house.journal.done[-1] == "answer offer"
    [before] = [leg.remote_rtp for leg in house.media.legs.values()]
    for useless in (None, b"rubbish"):
        house.calls.on_sip_event(sip.OfferAnswered(call, useless))
        assert [leg.remote_rtp for leg in house.media.legs.values()] == [before]
    house.calls.on_sip_event(sip.OfferAnswered(call, OFFER.replace(b"40000", b"41000")))
    assert [leg.remote_rtp for leg in house.media.legs.values()] == ["192.0.2.2:41000"]


async def test_what_the_media_core_refuses_to_connect_is_no_call_without_sound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House()

    def refuse(leg_id: int, **options: Any) -> None:
        raise MediaError("it is out of range")

    monkeypatch.setattr(house.media, "connect_leg", refuse)
    house.invite()
    command(house, ask.Answer())
    await house.settle()
    assert house.sip.rejected == [500]
    assert "accept" not in house.journal.done
    assert house.journal.done[-2:] == ["close leg", "call.hangup"]
    house.assert_nothing_left()


async def test_a_call_without_an_offer_gets_ours_and_uses_the_answer_of_the_ack() -> None:
    house = House()
    call = house.invite(sdp=None)
    command(house, ask.Answer())
    await house.settle()
    ours = SessionDescription.parse(house.sip.answers[0])
    assert ours is not None
    house.calls.on_sip_event(sip.CallEstablished(call, OFFER))
    await house.settle()
    assert house.journal.done[-1] == "call.answered"
    [leg] = house.media.legs.values()
    assert leg.remote_rtp == "192.0.2.2:40000"


@pytest.mark.parametrize("sdp", [None, b"rubbish"])
async def test_a_call_whose_ack_says_nothing_useful_is_ended(sdp: bytes | None) -> None:
    house = House()
    call = house.invite(sdp=None)
    command(house, ask.Answer())
    await house.settle()
    house.calls.on_sip_event(sip.CallEstablished(call, sdp))
    await house.settle()
    assert house.journal.done[-3:] == ["hangup", "close leg", "call.hangup"]
    house.assert_nothing_left()


async def test_a_media_leg_that_breaks_ends_the_call() -> None:
    house = House()
    await answered(house)
    [leg_id] = house.media.legs
    house.media.fail_leg(leg_id)
    await house.settle()
    assert house.journal.done[-2:] == ["hangup", "call.hangup"]
    house.assert_nothing_left()
