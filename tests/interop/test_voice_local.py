"""The local voice with its real weights, in its worker process, judged by the recogniser's ear."""

import array
import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio

from offhook.edge.speech.moonshine import ENGINE as EARS
from offhook.edge.voice.local import ENGINE, SAMPLE_RATE_HZ
from offhook.edge.voice.service import VoiceService
from offhook.kit.wer import word_errors
from offhook.proto.ssml import Script, parse_ssml, script_of_text

pytest.importorskip("hibari", reason="needs the extra offhook[voice]")
pytest.importorskip("moonshine_voice", reason="needs the extra offhook[speech]")
pytestmark = [pytest.mark.interop, pytest.mark.speech, pytest.mark.asyncio(loop_scope="module")]

SENTENCES = [
    "Thank you for calling. Please hold while I connect you to an agent.",
    "Your appointment is on Monday, the third of March, at nine thirty in the morning.",
    "The weather is nice today, but tomorrow it will rain in the mountains.",
    "Please say yes if you would like to leave a message after the tone.",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[VoiceService]:
    service = VoiceService()
    assert await service.inspect() == {}
    await service.warm_up()
    yield service
    await service.close()


async def pcm_of(service: VoiceService, script: Script) -> bytes:
    async with asyncio.timeout(100), aclosing(service.speak(script, "female")) as pieces:
        return b"".join([pcm async for pcm in pieces])


def seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / SAMPLE_RATE_HZ


def at_8000_hz(pcm: bytes) -> bytes:
    samples = array.array("h", pcm)
    return array.array(
        "h", [sum(samples[at : at + 3]) // 3 for at in range(0, len(samples) - 2, 3)]
    ).tobytes()


async def test_what_is_said_is_understood(service: VoiceService) -> None:
    ears = EARS.load({})
    errors = words = 0
    for sentence in SENTENCES:
        pcm = await pcm_of(service, script_of_text(sentence))
        found = word_errors(sentence, ears.transcribe(at_8000_hz(pcm), 8000).text)
        errors += found.substituted + found.missing + found.extra
        words += found.reference_words
    assert words > 45
    assert errors / words < 0.05


async def test_the_same_text_always_sounds_the_same(service: VoiceService) -> None:
    script = script_of_text("Once again.")
    assert await pcm_of(service, script) == await pcm_of(service, script) != b""


async def test_rate_volume_and_pauses_are_heard(service: VoiceService) -> None:
    plain = await pcm_of(service, script_of_text("One two three four five."))
    slow = await pcm_of(
        service, parse_ssml('<speak><prosody rate="50%">One two three four five.</prosody></speak>')
    )
    soft = await pcm_of(
        service, parse_ssml('<speak><prosody volume="-6dB">One two three four five.</prosody></speak>')
    )
    paused = await pcm_of(service, parse_ssml('<speak>One two three four five.<break time="2s"/></speak>'))
    assert 1.6 < seconds(slow) / seconds(plain) < 2.2
    assert max(array.array("h", plain)) / max(array.array("h", soft)) == pytest.approx(2.0, abs=0.01)
    assert seconds(paused) - seconds(plain) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "text",
    [
        "1" * 60,
        "%" * 60,
        "a" * 100,
        "日本語 😀",
        "x(/y/)[](",
        "[a](/!!!/)",
        "$1,234,567.89 " * 5,
        "0/0 1/0 -1/0",
    ],
)
async def test_odd_text_ends_in_bounded_audio(service: VoiceService, text: str) -> None:
    pcm = await pcm_of(service, script_of_text(text))
    assert seconds(pcm) < 180
    assert len(service.pids()) == 1
    assert service.counters()["worker_restarts_total"] == 0


async def test_nothing_is_ever_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    import hibari.voices

    monkeypatch.setattr(hibari.voices, "download", pytest.fail)
    pieces = list(ENGINE.load({}).say("Hello.", 1.0, 0.0))
    assert 0.4 < seconds(b"".join(pieces)) < 1.5
