"""The relay's figures for Prometheus, in a registry of their own. No label ever holds an identity.

What happens often is counted in plain numbers where it happens and read here when somebody asks; what
is measured in histograms is observed once per transaction or read, not once per message.
"""

import time
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .session import DEVICE, GREETED, GREETING, ISSUER

if TYPE_CHECKING:
    from .relay import Relay

LABELS: Final = frozenset({"state", "frame", "code", "kind", "what", "result", "le"})
"""The only labels; their values are words of this program."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_JOBS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

Value = float | Mapping[str, float]


class Metrics(Collector):
    """All figures of one relay. Its plain counters are written by whoever counts."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._watched: list[tuple[type[Metric], str, str, str, Callable[[], Value]]] = []
        self.frames: Count[str] = Count()
        """Frames received, by class."""
        self.refusals: Count[str] = Count()
        """Refusals sent, by code."""
        self.turned_away: Count[str] = Count()
        """Connections that were not admitted, by reason."""
        self.swept: Count[str] = Count()
        """What retention took, by what it was."""
        self.swept_at = 0.0
        """When the last sweep ended, Unix time."""
        self.paused = 0
        """How often a connection was read later because it sent too fast."""
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        self.batch = self._histogram("write_batch_jobs", "Requests in one transaction.", _JOBS)
        self.commit = self._histogram("write_seconds", "One transaction, flushed.", _SECONDS)
        self.read = self._histogram("read_seconds", "One read, its waiting included.", _SECONDS)
        self.lag = self._histogram("loop_lag_seconds", "How late the event loop is.", _SECONDS)
        self._watch_the_relay()

    def gauge(self, name: str, text: str, value: Callable[[], Value], label: str = "") -> None:
        """A figure that goes up and down, asked for when it is read; with a label, one per value."""
        self._watch(GaugeMetricFamily, name, text, value, label)

    def counter(self, name: str, text: str, value: Callable[[], Value], label: str = "") -> None:
        """A figure that only grows while the process lives."""
        self._watch(CounterMetricFamily, name, text, value, label)

    def written(self, jobs: int, seconds: float) -> None:
        """One transaction is on disk. Called on the writer's thread."""
        self.batch.observe(jobs)
        self.commit.observe(seconds)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Metric]:
        """Called by the registry."""
        for kind, name, text, label, value in self._watched:
            family = kind(name, text, labels=[label] if label else [])  # type: ignore[call-arg]
            for labels, number in _samples(value()):
                family.add_metric(labels, number)  # type: ignore[attr-defined]
            yield family

    def _watch(
        self, kind: type[Metric], name: str, text: str, value: Callable[[], Value], label: str
    ) -> None:
        assert not label or label in LABELS, label
        self._watched.append((kind, f"pli_{name}", text, label, value))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"pli_{name}", text, buckets=buckets, registry=self.registry)

    def _watch_the_relay(self) -> None:
        relay, began = self._relay, time.time()
        self.gauge("start_time_seconds", "When the relay started, Unix time.", lambda: began)
        self.gauge("connections", "Open connections.", self._connections, "state")
        self.counter("frames", "Frames received.", lambda: self.frames, "frame")
        self.counter("refusals", "Refusals sent.", lambda: self.refusals, "code")
        self.counter("turned_away", "Connections not admitted.", lambda: self.turned_away, "what")
        self.counter("paused", "Connections read later: they sent too fast.", lambda: self.paused)
        self.counter("rows", "Rows accepted.", lambda: relay.rooms.published, "kind")
        self.counter("deliveries", "Rows pushed to devices.", lambda: relay.rooms.delivered)
        self.gauge("rooms", "Groups with somebody online.", lambda: len(relay.rooms))
        self.gauge("queued_bytes", "Bytes that wait for the disk.", lambda: relay.writer.queued)
        self.counter("swept", "What retention took.", lambda: self.swept, "what")
        self.gauge(
            "sweep_time_seconds", "When a sweep last ended, Unix time.", lambda: self.swept_at
        )
        self.counter("undone", "Transactions undone.", lambda: relay.writer.undone, "what")

    def _connections(self) -> Mapping[str, float]:
        always = dict.fromkeys((GREETING, GREETED, DEVICE, ISSUER), 0)
        return always | Count(session.state for session in self._relay.connected)


def _samples(value: Value) -> Iterator[tuple[list[str], float]]:
    if isinstance(value, Mapping):
        # A copy: other threads may count meanwhile.
        for label, number in sorted(dict(value).items()):
            yield [label], number
    else:
        yield [], value
