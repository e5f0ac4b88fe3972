"""Every event there is, as real legs tell it in lives that together hold everything a call can do."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

from offhook.app.recording_urls import RecordingUrls
from offhook.app.recordings import failed, saved
from offhook.base.clock import SystemClock
from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.values import Track, UdpTarget
from offhook.edge.store import RecordingRow
from tests.fakes.legs import Desk, answered, media, start_transcription, transcript
from tests.unit.call.test_payloads import whole_life

_AGENT = ask.StartStream(dialogflow=ask.DialogflowOptions(analyze_sentiment=True))
_ANSWER = facts.AgentAnswered("id-1", "hello", 1.0, True, (("Hi!",),), "greeting", "en", (0.5, 2.0))


def with_an_agent() -> Desk:
    """Return a desk whose call has talked with a Dialogflow agent."""
    desk = answered()
    desk.command(_AGENT)
    desk.tell(facts.StreamConnected("id-1"), _ANSWER, facts.StreamClosed("id-1", "command"))
    return desk


def with_one_target() -> Desk:
    """Return a desk whose call was forked to one port, decrypted and raw."""
    desk = answered()
    desk.command(ask.StartFork(target=UdpTarget("192.0.2.9", 5000)))
    desk.tell(facts.ForkOpened("id-1"), facts.ForkClosed("id-1"))
    desk.command(ask.StartFork(target=UdpTarget("192.0.2.9", 5000), fork_type=ask.ForkType.RAW))
    desk.tell(facts.ForkOpened("id-2"), facts.ForkClosed("id-2"))
    return desk


def with_an_entry() -> Desk:
    """Return a desk whose caller has pressed the keys that were waited for."""
    desk = answered()
    desk.command(ask.Gather(gather_id="pin"))
    desk.tell(facts.DigitReceived("1"), facts.DigitReceived("#"))
    return desk


def with_signals() -> Desk:
    """Return a desk whose far end sent an INFO, and was referred twice: in vain, and to somebody."""
    desk = answered()
    desk.tell(facts.InfoReceived("text/plain", "hello"))
    desk.command(ask.Refer(target="sip:desk@pbx.example"))
    desk.tell(facts.ReferAnswered(603))
    desk.command(ask.Refer(target="sip:sales@pbx.example"))
    desk.tell(facts.ReferAnswered(202), facts.ReferNotified(200, over=True))
    return desk


def with_another_call() -> Desk:
    """Return a desk whose call was bridged, put on hold by its phone and taken back."""
    desk = answered()
    desk.tell(facts.Bridged("v3:other"))
    desk.tell(facts.MediaRenegotiated(replace(media(), sending=False)), facts.MediaRenegotiated(media()))
    return desk


def with_words() -> Desk:
    """Return a desk whose call was transcribed word by word, by an engine that broke off and one that did too."""
    desk = answered()
    desk.command(start_transcription())
    words = (facts.SpokenWord("hello", 100, 900, 0.9, "1"),)
    desk.tell(replace(transcript(), words=words, word_times="measured", utterance_end=True))
    desk.tell(facts.TranscriptionMoved("id-1", Track.RX, "local", "the vendor hung up"))
    desk.tell(facts.TranscriptionClosed("id-1", "the worker ended"))
    return desk


LIVES = (
    whole_life,
    with_an_agent,
    with_one_target,
    with_an_entry,
    with_signals,
    with_another_call,
    with_words,
)
"""A new event joins one of these, or brings its own."""


def of_recordings() -> dict[str, list[dict[str, Any]]]:
    """Return what is told of recordings, which is not told by their leg."""
    leg = answered().leg.told_by_all()
    row = RecordingRow(
        recording_id="9fa2b1a0-0000-4000-8000-000000000000",
        state="completed",
        format="mp3",
        channels="dual",
        call_control_id=leg["call_control_id"],
        call_leg_id=leg["call_leg_id"],
        call_session_id=leg["call_session_id"],
        connection_id=leg["connection_id"],
        caller="+15550100001",
        callee="+15550100002",
        file_name="mine-1",
        initiated_by="StartCallRecordingAPI",
        told="{}",
        route="{}",
        started_at=1_790_000_000.0,
        ended_at=1_790_000_060.0,
        updated_at=1_790_000_060.0,
        duration_ms=60_000,
        size_bytes=480_000,
    )
    urls = RecordingUrls(b"secret", SystemClock(), "http://127.0.0.1:8080")
    return {
        "call.recording.saved": [{**leg, **saved(row, urls)}],
        "call.recording.error": [{**leg, **failed(row)}],
    }


def payloads_told() -> dict[str, list[dict[str, Any]]]:
    """Return the payloads of all events of all lives, by event type."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for live in LIVES:
        for effect in live().done:
            if isinstance(effect, do.Notify):
                found[effect.event_type].append(effect.payload)
    return {**found, **of_recordings()}
