"""The server's half of a session: bounds, order, and what is heard again after a crash."""

import pytest

from offhook.base.limits import SPEECH_PUSH_BYTES_MAX, SPEECH_QUEUED_MS, SPEECH_SESSION_CRASHES_MAX
from offhook.edge.speech.frames import Audio, FrameReader, Message
from offhook.edge.speech.protocol import Closed, Error, Final, SpeechConfig, SpeechEvent, SpeechStarted
from offhook.edge.speech.session import PoolSession
from tests.fakes.speech_engine import silence

pytestmark = pytest.mark.unit


class Wire:
    """A session without a process: what it sends can be read, what it tells is kept."""

    def __init__(self) -> None:
        self.events: list[SpeechEvent] = []
        self.session = PoolSession(3, SpeechConfig(interim=True), "en", self.events.append)
        self.left = 0

        def leave() -> None:
            self.left += 1

        self.session.leave = leave

    def sent(self) -> list[Message | Audio]:
        reader = FrameReader()
        result: list[Message | Audio] = []
        while data := self.session.take():
            result += reader.feed(data)
        return result

    def final(self, utterance: int, end_ms: int, text: str | None = "hello") -> None:
        self.session.receive(
            {
                "ev": "final",
                "s": 3,
                "u": utterance,
                "text": text,
                "confidence": 0.9,
                "language": "en",
                "start": 0,
                "end": end_ms,
                "words": [] if text is None else [[text, 0, end_ms, 0.9]],
            }
        )


async def test_a_session_is_opened_before_its_audio_and_closed_after_it() -> None:
    wire = Wire()
    wire.session.push(silence(100), 0)
    wire.session.flush()
    wire.session.flush()
    wire.session.push(silence(100), 100)
    sent = wire.sent()
    assert [frame.at_ms if isinstance(frame, Audio) else frame["op"] for frame in sent] == [
        "open",
        0,
        "flush",
        100,
    ]


async def test_audio_that_nobody_takes_has_a_bound_and_the_oldest_goes_first() -> None:
    wire = Wire()
    for number in range(2 * SPEECH_QUEUED_MS // 100):
        wire.session.push(silence(100), number * 100)
    stats = wire.session.stats()
    assert stats.audio_ms == 2 * SPEECH_QUEUED_MS
    assert stats.dropped_ms == SPEECH_QUEUED_MS
    audio = [frame.at_ms for frame in wire.sent() if isinstance(frame, Audio)]
    assert audio == list(range(SPEECH_QUEUED_MS, 2 * SPEECH_QUEUED_MS, 100))


async def test_even_crumbs_have_a_bound() -> None:
    wire = Wire()
    for number in range(SPEECH_QUEUED_MS + 1000):
        wire.session.push(b"\0\0", number)
        wire.session.flush()
    assert len(wire.sent()) <= SPEECH_QUEUED_MS + 1


async def test_what_waits_is_told_from_the_push_to_the_last_final() -> None:
    wire = Wire()
    wire.session.push(silence(300), 0)
    wire.session.flush()
    assert wire.session.waiting_ms() > 300
    wire.sent()
    assert wire.session.waiting_ms() > 0, "nobody knows yet what is in it"
    wire.session.receive({"ev": "started", "s": 3, "u": 0, "at": 40})
    wire.session.receive({"ev": "ended", "s": 3, "u": 0, "at": 260})
    wire.session.receive({"ev": "flushed", "s": 3})
    assert wire.session.waiting_ms() == 220
    wire.final(0, 260)
    assert wire.session.waiting_ms() == 0


async def test_what_waits_is_counted_anew_after_a_crash_and_is_nothing_at_the_end() -> None:
    wire = Wire()
    wire.session.push(silence(300), 0)
    wire.session.flush()
    wire.sent()
    wire.session.receive({"ev": "ended", "s": 3, "u": 0, "at": 260})
    wire.session.worker_ended()
    assert wire.session.waiting_ms() == 301
    wire.session.end()
    assert wire.session.waiting_ms() == 0


@pytest.mark.parametrize(
    ("pcm", "at_ms"),
    [(bytes(SPEECH_PUSH_BYTES_MAX + 2), 0), (silence(20), -1), (silence(20), 1 << 60)],
)
async def test_impossible_audio_is_counted_and_not_sent(pcm: bytes, at_ms: int) -> None:
    wire = Wire()
    wire.session.push(pcm, at_ms)
    stats = wire.session.stats()
    assert stats.dropped_ms == stats.audio_ms == len(pcm) // 16
    assert not any(isinstance(frame, Audio) for frame in wire.sent())


async def test_after_a_crash_what_was_not_settled_is_sent_again() -> None:
    wire = Wire()
    for number in range(10):
        wire.session.push(silence(100), number * 100)
    wire.sent()
    wire.final(0, 450)
    wire.session.worker_ended()
    opened, *audio = wire.sent()
    assert isinstance(opened, dict)
    assert opened["utterance"] == 1
    assert [frame.at_ms for frame in audio if isinstance(frame, Audio)] == [450, 500, 600, 700, 800, 900]
    assert isinstance(wire.events[-1], Error)
    assert wire.events[-1].recovering


async def test_a_start_that_is_heard_again_is_told_once() -> None:
    wire = Wire()
    wire.sent()
    for _ in range(2):
        wire.session.receive({"ev": "started", "s": 3, "u": 0, "at": 40})
        wire.session.worker_ended()
        wire.sent()
    assert wire.events.count(SpeechStarted(40, 0)) == 1


async def test_a_session_that_keeps_ending_its_worker_is_given_up() -> None:
    wire = Wire()
    for _ in range(SPEECH_SESSION_CRASHES_MAX + 1):
        wire.session.push(silence(100), 0)
        wire.sent()
        wire.session.worker_ended()
    failed, closed = wire.events[-2:]
    assert isinstance(failed, Error)
    assert not failed.recovering
    assert isinstance(closed, Closed)
    assert closed.stats.crashes == SPEECH_SESSION_CRASHES_MAX + 1
    assert wire.left == 1
    assert wire.sent() == []


async def test_what_a_lost_session_left_unfinished_is_there_for_another_engine() -> None:
    wire = Wire()
    for number in range(4):
        wire.session.push(silence(100), number * 100)
    wire.sent()
    wire.final(0, 150)
    wire.session.push(silence(100), 400)
    wire.session.fail("the speech worker does not start")
    assert [at_ms for at_ms, _ in wire.session.unfinished()] == [150, 200, 300, 400]
    assert len(wire.session.unfinished()[0][1]) == 16 * 50, "what is final already is not in it"
    assert wire.sent() == []


async def test_a_final_forgives_earlier_crashes() -> None:
    wire = Wire()
    for number in range(3 * SPEECH_SESSION_CRASHES_MAX):
        wire.sent()
        wire.session.worker_ended()
        wire.final(number, 0)
    assert not wire.session.ended


async def test_a_final_without_words_is_not_told_but_settles() -> None:
    wire = Wire()
    wire.session.push(silence(100), 0)
    wire.sent()
    wire.final(0, 100, text=None)
    assert wire.events == []
    wire.session.worker_ended()
    assert not any(isinstance(frame, Audio) for frame in wire.sent())


async def test_closed_is_the_last_event_and_told_once() -> None:
    wire = Wire()
    wire.sent()
    wire.session.receive({"ev": "closed", "s": 3})
    wire.session.receive({"ev": "closed", "s": 3})
    wire.final(0, 100)
    wire.session.fail("too late")
    await wire.session.close()
    wire.session.push(silence(100), 0)
    assert [type(event) for event in wire.events] == [Closed]
    assert wire.left == 1


async def test_a_worker_that_never_answers_the_close_does_not_hold_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("offhook.edge.speech.session.SPEECH_CLOSE_TIMEOUT_S", 0.01)
    wire = Wire()
    await wire.session.close()
    assert [type(event) for event in wire.events] == [Closed]


async def test_a_listener_that_raises_does_not_break_the_session() -> None:
    told: list[SpeechEvent] = []

    def listen(event: SpeechEvent) -> None:
        told.append(event)
        raise RuntimeError("a bug of the listener")

    wire = Wire()
    wire.session._on_event = listen
    wire.sent()
    wire.final(0, 10)
    wire.final(1, 20)
    assert [type(event) for event in told] == [Final, Final]
