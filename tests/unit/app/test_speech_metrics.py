"""What is counted of speech engines comes out under their names."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from offhook.app.speech_metrics import speech_metrics
from offhook.base.errors import LimitReached
from offhook.edge.speech.protocol import SpeechConfig
from offhook.edge.speech.service import SpeechService
from tests.fakes.runners import HandClock
from tests.fakes.speech_engine import silence
from tests.fakes.speech_sessions import HandEngine, service_of

pytestmark = pytest.mark.unit


def scraped(service: SpeechService) -> dict[str, float]:
    """Return every sample of a scrape."""

    class _Collector(Collector):
        def collect(self):  # type: ignore[no-untyped-def]
            yield from speech_metrics(service)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}


async def test_every_engine_has_its_own_numbers() -> None:
    clock = HandClock()
    first, second = HandEngine("first", tracks_max=1), HandEngine("second", tracks_max=1)
    service = service_of(first, second, fallback="second", clock=clock)
    handle = await service.open("k", SpeechConfig(), "Google", lambda event: None)
    handle.push(silence(500), 0)
    first.sessions[0].say("good", final=False)
    first.sessions[0].say("good morning", at_ms=300)
    clock.at_s += 0.5
    first.sessions[0].say("all", at_ms=400)
    open_now = scraped(service)
    assert open_now['offhook_speech_sessions_open{engine="first"}'] == 1
    assert open_now['offhook_speech_final_latency_seconds_bucket{engine="first",le="0.1"}'] == 1
    assert open_now['offhook_speech_final_latency_seconds_bucket{engine="first",le="0.5"}'] == 2
    assert open_now['offhook_speech_final_latency_seconds_count{engine="first"}'] == 2
    handle.push(silence(100), 500)
    assert scraped(service)['offhook_speech_waiting_audio_seconds{engine="first"}'] == 0.1
    first.sessions[0].break_off()
    for _ in range(10):
        handle.flush()
    await handle.close()
    with pytest.raises(LimitReached):
        service.check("Google", SpeechConfig(), 2)
    found = scraped(service)
    expected = {
        "sessions_total": (1, 1),
        "sessions_open": (0, 0),
        "partials_total": (1, 0),
        "finals_total": (2, 0),
        "audio_seconds_total": (0.6, 0),
        "failures_total": (1, 0),
        "fallbacks_total": (1, 0),
        "refusals_total": (1, 0),
    }
    for name, values in expected.items():
        told = tuple(found[f'offhook_speech_{name}{{engine="{engine}"}}'] for engine in ("first", "second"))
        assert told == values, name


async def test_worker_processes_are_counted_under_the_engine_they_run() -> None:
    service = SpeechService()
    service.check("Google", SpeechConfig())
    found = scraped(service)
    assert found['offhook_speech_workers{engine="local"}'] == 0
    assert found['offhook_speech_decode_seconds_total{engine="local"}'] == 0
    assert not [name for name in found if "audio" in name], "nothing has been heard yet"
