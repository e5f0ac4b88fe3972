"""Every counter of the process, for Prometheus. Nothing is counted twice: the rooms keep their own."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from offhook.app.calls import Calls
from offhook.app.services import Services
from offhook.app.speech_metrics import speech_metrics


class OffhookCollector(Collector):
    """Reads all counters at the moment of a scrape."""

    def __init__(self, services: Services, calls: Calls) -> None:
        self._services = services
        self._calls = calls

    def collect(self) -> Iterator[Metric]:
        """Yield one metric a counter: `*_total` are counters, all others are gauges."""
        yield GaugeMetricFamily("offhook_calls_open", "Calls that are up or ringing.", value=len(self._calls))
        yield CounterMetricFamily("offhook_calls", "Calls taken.", value=self._calls.calls_total)
        refused = CounterMetricFamily("offhook_calls_refused", "Calls refused, by cause.", labels=["cause"])
        for cause, count in self._calls.refused_total.items():
            refused.add_metric([cause], count)
        yield refused
        webhook = self._services.outbox.counters
        rooms: dict[str, Mapping[str, int]] = {
            "media": self._services.media.counters(),
            "sip": self._services.sip.stats(),
            "webhook": {name: getattr(webhook, name) for name in webhook.__slots__},
            "voice": self._services.voice.counters(),
            "dialogflow": self._services.agents.talks.numbers(),
            "legs": self._services.counters,
            "egress": {
                "refused_total": self._services.egress.refused_total,
                "forks_refused_total": self._calls.fork_rate.refused_total,
            },
        }
        for room, counters in rooms.items():
            for name, value in counters.items():
                yield _metric(f"offhook_{room}_{name}", value)
        yield from speech_metrics(self._services.speech)


def make_registry(services: Services, calls: Calls) -> CollectorRegistry:
    """Return a registry of our own, so that two servers in one process do not meet."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(OffhookCollector(services, calls))
    return registry


def _metric(name: str, value: int) -> Metric:
    text = name.removeprefix("offhook_").replace("_", " ")
    if name.endswith("_total"):
        return CounterMetricFamily(name.removesuffix("_total"), text, value=value)
    return GaugeMetricFamily(name, text, value=value)
