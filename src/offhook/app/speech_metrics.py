"""What each speech engine does, for Prometheus: one sample an engine, by the label `engine`."""

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from offhook.edge.speech.service import SpeechService

_ROOM = "offhook_speech"
_TOTALS = {
    "sessions": "Tracks that an engine has begun to transcribe.",
    "partials": "Partial results.",
    "finals": "Final results.",
    "recoveries": "Sessions that went on after a lost worker or connection.",
    "failures": "Sessions that broke off for good.",
    "fallbacks": "Tracks that another engine went on with, or began.",
    "refusals": "Transcriptions refused at their start.",
}
_SECONDS = {
    "audio": ("audio_ms", "Audio that came for an engine."),
    "audio_dropped": ("dropped_ms", "Audio that was never heard."),
}
_OWN_GAUGES = {"workers": "Worker processes that run."}
_OWN_TOTALS = {
    "worker_restarts": "Workers that were replaced.",
    "decodes": "Runs of the model.",
    "decodes_failed": "Runs of the model that failed.",
    "partials_skipped": "Partials left out under load.",
    "partials_abandoned": "Partials given up half way for a final.",
    "finals_ahead": "Finals whose words were ready before the pause was over.",
    "texts_refused": "Texts that looked like nonsense.",
    "holes": "Gaps in the audio that came.",
    "reconnects": "Connections to a service that took the place of a lost one.",
    "retries": "Attempts to connect again.",
    "rotations": "Connections renewed before the service would have ended them.",
    "messages_unreadable": "Messages of a service that could not be read.",
}


def speech_metrics(speech: SpeechService) -> Iterator[Metric]:
    """Yield everything that is counted of engines."""
    meters = speech.meters()
    for name, text in _TOTALS.items():
        yield _counter(name, text, {engine: meter.totals[name] for engine, meter in meters.items()})
    for name, (key, text) in _SECONDS.items():
        seconds = {engine: meter.totals[key] / 1000 for engine, meter in meters.items()}
        yield _counter(f"{name}_seconds", text, seconds)
    yield _gauge("sessions_open", "Tracks being transcribed.", speech.open_tracks())
    waiting = {engine: waiting_ms / 1000 for engine, waiting_ms in speech.waiting_ms().items()}
    yield _gauge("waiting_audio_seconds", "Audio that has not been heard, or waits for its words.", waiting)
    latency = HistogramMetricFamily(
        f"{_ROOM}_final_latency_seconds", "From the end of speech until its final is told.", labels=["engine"]
    )
    for engine, meter in meters.items():
        latency.add_metric([engine], list(meter.latency.buckets()), meter.latency.sum_s)
    yield latency
    own = speech.engine_counters()
    for name, text in _OWN_GAUGES.items():
        yield _gauge(name, text, _those_that_count(own, name))
    for name, text in _OWN_TOTALS.items():
        yield _counter(name, text, _those_that_count(own, name))
    decoding = {engine: ms / 1000 for engine, ms in _those_that_count(own, "decode_ms").items()}
    yield _counter("decode_seconds", "Time that the model took.", decoding)


def _those_that_count(own: dict[str, dict[str, int]], name: str) -> dict[str, int]:
    return {engine: counters[name] for engine, counters in own.items() if name in counters}


def _counter(name: str, text: str, values: dict[str, float] | dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"{_ROOM}_{name}", text, labels=["engine"])
    for engine, value in values.items():
        family.add_metric([engine], value)
    return family


def _gauge(name: str, text: str, values: dict[str, float] | dict[str, int]) -> Metric:
    family = GaugeMetricFamily(f"{_ROOM}_{name}", text, labels=["engine"])
    for engine, value in values.items():
        family.add_metric([engine], value)
    return family
