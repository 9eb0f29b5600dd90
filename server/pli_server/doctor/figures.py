"""The running relay's figures in a few lines, for whoever has no Prometheus."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

DAY: Final = 86_400


class Figures(Struct, frozen=True):
    """What `pli-server status` shows. Sizes in bytes, times in seconds; counted since the start."""

    up: float
    connections: Mapping[str, int]
    rows: int
    deliveries: int
    refusals: Mapping[str, int]
    turned_away: int
    transactions: int
    flush: float
    """An average transaction."""
    undone: Mapping[str, int]
    queued_bytes: int
    lag: float
    """How late the event loop is on average."""
    cpu: float
    memory: int
    open_files: int
    establishments: int
    accounts: int
    disk_free: int
    certificate_expires: float | None
    backup_age: float | None
    """Of the newest backup, where there is a schedule; 0: none yet."""

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and text."""
        yield "up", _span(self.up)
        signed = self.connections.get("device", 0) + self.connections.get("issuer", 0)
        others = sum(self.connections.values()) - signed
        yield "online", f"{signed} signed in, {others} not"
        yield "traffic", f"{self.rows} rows accepted, {self.deliveries} delivered"
        flush = f"{self.flush * 1000:.2f} ms on average"
        yield "disk", f"{self.transactions} transactions, {flush}, {self.queued_bytes} bytes wait"
        yield "refused", _counts(self.refusals) + f"; {self.turned_away} turned away"
        yield "undone", _counts(self.undone)
        memory = f"{self.memory / 2**20:.0f} MiB, {self.open_files} open files"
        yield "process", f"{self.cpu:.0f} s of CPU, {memory}, {self.lag * 1000:.1f} ms late"
        free = f"{self.disk_free / 2**30:.1f} GiB free"
        yield "stored", f"{self.establishments} establishments, {self.accounts} accounts, {free}"
        if self.backup_age is not None:
            yield "backup", f"{_span(self.backup_age)} ago" if self.backup_age > 0 else "none yet"
        if self.certificate_expires is not None:
            days = (self.certificate_expires - time.time()) / DAY
            yield "certificate", f"{days:.0f} more days"


def read(text: str) -> Figures:
    """From what /metrics answers."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = next(iter(sample.labels.values()), "")
            found.setdefault(sample.name, {})[label] = sample.value

    def one(name: str) -> float:
        return found.get(name, {}).get("", 0.0)

    def each(name: str) -> dict[str, int]:
        return {label: int(value) for label, value in found.get(name, {}).items() if value}

    def average(name: str) -> float:
        return one(f"{name}_sum") / max(1.0, one(f"{name}_count"))

    return Figures(
        up=time.time() - one("pli_start_time_seconds"),
        connections=each("pli_connections"),
        rows=sum(each("pli_rows_total").values()),
        deliveries=int(one("pli_deliveries_total")),
        refusals=each("pli_refusals_total"),
        turned_away=sum(each("pli_turned_away_total").values()),
        transactions=int(one("pli_write_seconds_count")),
        flush=average("pli_write_seconds"),
        undone=each("pli_undone_total"),
        queued_bytes=int(one("pli_queued_bytes")),
        lag=average("pli_loop_lag_seconds"),
        cpu=one("process_cpu_seconds_total"),
        memory=int(one("process_resident_memory_bytes")),
        open_files=int(one("process_open_fds")),
        establishments=int(one("pli_establishments")),
        accounts=int(one("pli_accounts")),
        disk_free=int(one("pli_disk_free_bytes")),
        backup_age=_number(found.get("pli_backup_age_seconds", {}).get("")),
        certificate_expires=found.get("pli_certificate_expires_seconds", {}).get(""),
    )


def _number(value: float | None) -> float | None:
    """NaN, which JSON does not have: there is none yet."""
    return 0.0 if value is not None and math.isnan(value) else value


def _span(seconds: float) -> str:
    days, rest = divmod(int(seconds), DAY)
    return f"{days} d {rest // 3600} h {rest % 3600 // 60} min"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
