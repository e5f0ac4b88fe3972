"""The local engine with its real weights on telephone audio, in its worker process."""

import asyncio
import math
from array import array
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise

import pytest

from offhook.edge.speech.moonshine import ENGINE
from offhook.edge.speech.protocol import (
    Closed,
    Final,
    LanguageUnsupported,
    Partial,
    SegmentRecognizer,
    SpeechConfig,
    SpeechEnded,
    SpeechEvent,
    SpeechStarted,
)
from offhook.edge.speech.resample import double_rate
from offhook.edge.speech.service import SpeechService
from offhook.kit.wer import word_error_rate, word_errors
from tests.fakes import pcmu
from tests.fakes.speech_clips import CLIPS, PAUSE, SAID, SENTENCE, finals, noise, read_wav, transcribe

pytest.importorskip("onnxruntime", reason="needs the extra offhook[speech]")
pytest.importorskip("numpy", reason="needs the extra offhook[speech]")
pytestmark = [pytest.mark.interop, pytest.mark.speech]


def tones(
    *frequencies_hz: float, duration_ms: int, level: int = 8000, on_ms: int = 0, off_ms: int = 0
) -> bytes:
    """Return a sum of tones, in bursts of `on_ms` with pauses of `off_ms` if these are given."""
    samples = array("h")
    for number in range(8 * duration_ms):
        sounding = not on_ms or (number // 8) % (on_ms + off_ms) < on_ms
        value = sum(math.sin(2 * math.pi * hz * number / 8000) for hz in frequencies_hz) if sounding else 0.0
        samples.append(int(level * value / len(frequencies_hz)))
    return samples.tobytes()


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SpeechService]:
    # These tests are about words, not about how busy the machine is.
    monkeypatch.setattr("offhook.edge.speech.session.SPEECH_CLOSE_TIMEOUT_S", 30.0)
    service = SpeechService()
    await service.warm_up()
    yield service
    await service.close()
    assert service.pids() == []


@pytest.fixture(scope="module")
def recognizer() -> SegmentRecognizer:
    return ENGINE.load({})


async def test_the_shipped_sentence_is_understood_over_the_telephone(service: SpeechService) -> None:
    events = await transcribe(service, pcmu.round_trip(read_wav(SENTENCE)) + PAUSE)
    assert word_error_rate(SAID[SENTENCE], finals(events)) <= 0.15


async def test_a_wide_band_call_is_understood_at_its_rate(service: SpeechService) -> None:
    import numpy as np

    assert service.sample_rate_hz("Google", 16_000) == 16_000
    narrow = np.frombuffer(read_wav(SENTENCE) + PAUSE, np.int16).astype(np.float32)
    wide = double_rate(narrow).clip(-32768, 32767).astype(np.int16).tobytes()
    events = await transcribe(service, wide, sample_rate_hz=16_000)
    assert word_error_rate(SAID[SENTENCE], finals(events)) <= 0.15
    last = next(event for event in reversed(events) if isinstance(event, Final))
    assert last.end_ms <= len(wide) // 32, "times are milliseconds at this rate too"


async def test_all_clips_together_stay_below_15_percent(service: SpeechService) -> None:
    errors = words = 0
    for path, said in SAID.items():
        events = await transcribe(service, pcmu.round_trip(read_wav(path)) + PAUSE)
        counted = word_errors(said, finals(events))
        errors += counted.substituted + counted.missing + counted.extra
        words += counted.reference_words
    assert words >= 60
    assert errors / words <= 0.15


async def test_partials_come_before_their_final_and_grow(service: SpeechService) -> None:
    events: list[SpeechEvent] = []
    handle = await service.open("k", SpeechConfig(interim=True), "Google", events.append)
    pcm = pcmu.round_trip(read_wav(SENTENCE))
    for at in range(0, len(pcm), 1600):
        handle.push(pcm[at : at + 1600], at // 16)
        if at // 16 in (2000, 4000, 6000):
            # Let the worker reach this point: a partial is made of what has been said by then. A machine that
            # is very busy leaves some out.
            with suppress(TimeoutError):
                await wait_for_partial(events, after_ms=at // 16 - 1000)
    await handle.close()
    partials = [event for event in events if isinstance(event, Partial)]
    assert partials
    assert all(before.end_ms < after.end_ms for before, after in pairwise(partials))
    final = next(event for event in events if isinstance(event, Final))
    assert events.index(partials[-1]) < events.index(final)
    assert {event.utterance_id for event in partials} == {final.utterance_id}
    assert len(partials[0].text) < len(partials[-1].text) <= len(final.text) + 10
    assert [type(event) for event in events if not isinstance(event, Partial)] == [
        SpeechStarted,
        SpeechEnded,
        Final,
        Closed,
    ]


async def wait_for_partial(events: list[SpeechEvent], *, after_ms: int) -> None:
    async with asyncio.timeout(10):
        while not any(isinstance(e, Partial) and e.end_ms > after_ms for e in events):
            await asyncio.sleep(0.02)


async def test_without_interim_there_is_no_partial(service: SpeechService) -> None:
    events = await transcribe(service, pcmu.round_trip(read_wav(SENTENCE)) + PAUSE, interim=False)
    assert not any(isinstance(event, Partial) for event in events)
    assert finals(events)


async def test_the_last_words_are_delivered_when_the_call_ends_in_them(service: SpeechService) -> None:
    speech = pcmu.round_trip(read_wav(SENTENCE))
    events = await transcribe(service, speech[: 16 * 5000])
    heard = finals(events).lower()
    assert "leisure to consider" in heard
    assert isinstance(events[-1], Closed)


async def test_times_are_those_of_the_leg(service: SpeechService) -> None:
    speech = PAUSE + PAUSE + pcmu.round_trip(read_wav(CLIPS / "amiable.wav")) + PAUSE
    events = await transcribe(service, speech, begin_ms=60_000)
    final = next(event for event in events if isinstance(event, Final))
    assert 61_700 <= final.start_ms <= 62_500
    assert 64_500 <= final.end_ms <= 65_600


async def test_words_come_with_their_times_and_confidences(service: SpeechService) -> None:
    speech = PAUSE + pcmu.round_trip(read_wav(SENTENCE)) + PAUSE
    events = await transcribe(service, speech, begin_ms=60_000)
    final = next(event for event in events if isinstance(event, Final))
    assert " ".join(word.text for word in final.words) == final.text
    assert final.confidence is not None
    assert all(word.confidence is not None and 0.0 < word.confidence <= 1.0 for word in final.words)
    assert max(word.confidence or 0.0 for word in final.words) > final.confidence
    times = [time for word in final.words for time in (word.start_ms, word.end_ms)]
    assert times == sorted(times)
    assert final.start_ms <= times[0]
    assert times[-1] <= final.end_ms
    # Where other models hear it; the estimate's worst errors are below half a second.
    (consider,) = (word for word in final.words if word.text.lower().startswith("consider"))
    assert abs(consider.start_ms - 63_900) <= 700


async def test_pauses_make_utterances(service: SpeechService) -> None:
    clips = [CLIPS / "ill_disposed.wav", CLIPS / "amiable.wav"]
    speech = b"".join(pcmu.round_trip(read_wav(clip)) + PAUSE for clip in clips)
    events = await transcribe(service, speech)
    told = [event for event in events if isinstance(event, Final)]
    assert len(told) == 2
    for clip, final in zip(clips, told, strict=True):
        assert word_error_rate(SAID[clip], final.text) <= 0.3
    assert told[0].end_ms <= told[1].start_ms


async def test_a_monologue_longer_than_a_segment_is_cut_and_still_understood(service: SpeechService) -> None:
    # Without the pauses around them, the clips are one utterance of 20 s.
    clips = [SENTENCE, CLIPS / "respectable.wav", CLIPS / "cold_hearted.wav", CLIPS / "ill_disposed.wav"]
    speech = b"".join(read_wav(clip)[16 * 200 : -16 * 200] for clip in clips)
    events = await transcribe(service, pcmu.round_trip(speech) + PAUSE)
    told = [event for event in events if isinstance(event, Final)]
    assert all(event.end_ms - event.start_ms <= 12_000 for event in told)
    assert word_error_rate(" ".join(SAID[clip] for clip in clips), finals(events)) <= 0.25


@pytest.mark.parametrize(
    "pcm",
    [
        bytes(16 * 5000),
        noise(5000, 30),
        noise(5000, 600),
        tones(440, 480, duration_ms=8000, on_ms=2000, off_ms=4000),
        tones(425, duration_ms=5000, on_ms=500, off_ms=500),
        tones(1004, duration_ms=4000),
        tones(50, 150, duration_ms=4000, level=3000),
        b"".join(
            tones(low, high, duration_ms=120) + bytes(16 * 120)
            for low in (697, 770, 852, 941)
            for high in (1209, 1336, 1477)
        ),
    ],
    ids=["silence", "line noise", "loud noise", "ringback", "busy", "test tone", "hum", "DTMF"],
)
async def test_what_is_not_speech_gives_nothing(service: SpeechService, pcm: bytes) -> None:
    events = await transcribe(service, pcmu.round_trip(pcm))
    assert [event for event in events if isinstance(event, Partial | Final)] == []


async def test_many_tracks_at_once_are_each_understood(service: SpeechService) -> None:
    pcm = pcmu.round_trip(read_wav(CLIPS / "amiable.wav")) + PAUSE
    heard: dict[int, list[SpeechEvent]] = {number: [] for number in range(8)}
    handles = [
        await service.open(number, SpeechConfig(interim=True), "Telnyx", events.append)
        for number, events in heard.items()
    ]
    for at in range(0, len(pcm), 1600):
        for handle in handles:
            handle.push(pcm[at : at + 1600], at // 16)
    for handle in handles:
        await handle.close()
    assert [finals(events) for events in heard.values()] == [finals(heard[0])] * 8
    assert word_error_rate(SAID[CLIPS / "amiable.wav"], finals(heard[0])) <= 0.15


async def test_another_language_is_refused_before_it_is_misheard(service: SpeechService) -> None:
    with pytest.raises(LanguageUnsupported):
        await service.open("k", SpeechConfig(language="de"), "Google", lambda event: None)
    assert service.counters()["sessions_open"] == 0


@pytest.mark.parametrize("duration_ms", [1, 32, 100, 240, 12_000])
def test_a_segment_of_any_length_can_be_decoded(recognizer: SegmentRecognizer, duration_ms: int) -> None:
    pcm = (read_wav(SENTENCE) * 2)[: 16 * duration_ms]
    heard = recognizer.transcribe(pcm, 8000)
    assert 0.0 <= heard.confidence <= 1.0


def test_decoding_is_deterministic(recognizer: SegmentRecognizer) -> None:
    pcm = pcmu.round_trip(read_wav(SENTENCE))
    first, second = (recognizer.transcribe(pcm, 8000) for _ in range(2))
    assert (first.text, first.confidence) == (second.text, second.confidence)
    assert first.confidence > 0.8


def test_voice_detection_knows_speech_from_ringback(recognizer: SegmentRecognizer) -> None:
    def loud_share(pcm: bytes) -> float:
        detector = recognizer.detector(8000)
        frames = [pcm[at : at + 512] for at in range(0, len(pcm) - 511, 512)]
        return sum(detector.probability(frame) >= 0.5 for frame in frames) / len(frames)

    assert loud_share(pcmu.round_trip(read_wav(SENTENCE))) > 0.8
    assert loud_share(pcmu.round_trip(tones(440, 480, duration_ms=5000))) < 0.05
    assert loud_share(bytes(16 * 5000)) == 0.0


@pytest.mark.parametrize("hz", [300, 1000, 2000, 3000, 3400])
def test_doubling_the_rate_keeps_a_tone_and_adds_no_image(hz: int) -> None:
    import numpy as np

    tone = np.sin(2 * np.pi * hz * np.arange(4000) / 8000).astype(np.float32)
    middle = double_rate(tone)[1000:-1000]
    spectrum = np.abs(np.fft.rfft(middle * np.blackman(len(middle))))
    at_hz = np.fft.rfftfreq(len(middle), 1 / 16000)
    wanted = spectrum[np.abs(at_hz - hz) < 40].max()
    image = spectrum[np.abs(at_hz - (8000 - hz)) < 40].max()
    assert abs(at_hz[spectrum.argmax()] - hz) < 5
    assert 20 * math.log10(wanted / image) > 40
    assert abs(float(np.sqrt(np.mean(middle**2))) - math.sqrt(0.5)) < 0.01


def test_doubling_nothing_gives_nothing() -> None:
    import numpy as np

    assert len(double_rate(np.zeros(0, np.float32))) == 0
    assert len(double_rate(np.zeros(7, np.float32))) == 14
