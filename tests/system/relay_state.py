"""What the relay holds at the end, read from its database: the logs, and who was on each roster when."""

from dataclasses import dataclass, field

import msgspec

from pli_protocol.mls import peek
from pli_protocol.relay.log import RosterChange

from .relay_process import RelayProcess

COMMIT, APPLICATION = 3, 1


@dataclass(frozen=True)
class LogRow:
    seq: int
    epoch: int
    kind: int
    sender: bytes
    send_id: bytes
    chain: bytes
    place: tuple[int, int]
    """Timeline and seq where it stands; of a row that was brought to a restored relay, stood first."""


@dataclass
class Log:
    """One group's log. `roster[place]`: the devices to whom the row at this place was sealed."""

    group_id: bytes
    epoch: int
    last: int
    successor: bytes | None
    rows: list[LogRow] = field(default_factory=list)
    roster: dict[tuple[int, int], frozenset[bytes]] = field(default_factory=dict)
    chains: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """The chain hash at each place, also at the first ones of rows that were brought."""
    members: frozenset[bytes] = frozenset()
    """After the last row, as the AADs of the commits say."""
    joined: dict[bytes, int] = field(default_factory=dict)
    """The seq of the commit that added each device last."""
    left: frozenset[bytes] = frozenset()
    """Devices to which nothing is delivered any more, by the relay's own tables."""


def read_relay(relay: RelayProcess) -> dict[bytes, Log]:
    """All logs; the relay may run or not."""
    numbers: dict[object, Log] = {}
    for no, group_id, epoch, last, successor in relay.query(
        "SELECT no, group_id, epoch, last, successor FROM groups"
    ):
        assert isinstance(group_id, bytes)
        assert isinstance(epoch, int)
        assert isinstance(last, int)
        assert successor is None or isinstance(successor, bytes)
        numbers[no] = Log(group_id, epoch, last, successor)
    for no, log in numbers.items():
        log.left = frozenset(
            device
            for (device,) in relay.query(
                """SELECT device_id FROM members JOIN devices ON devices.no = members.device_no
                   WHERE group_no = ? AND state >= 2""",
                no,
            )
            if isinstance(device, bytes)
        )
        found = relay.query(
            """SELECT rows.seq, epoch, kind, device_id, send_id, rows.chain,
                   (SELECT coalesce(max(timeline), 1) FROM timelines WHERE rows_after < rows.no),
                   brought_rows.timeline, first_seq, brought_rows.chain, is_blob, payload
               FROM rows JOIN devices ON devices.no = rows.sender_no
                   LEFT JOIN brought_rows USING (group_no, seq)
               WHERE rows.group_no = ? ORDER BY rows.seq""",
            no,
        )
        _replay(log, found)
    return {log.group_id: log for log in numbers.values()}


_Values = tuple[int, int, int, bytes, bytes, bytes, int, int | None, int | None, bytes | None]


def _replay(log: Log, found: list[tuple[object, ...]]) -> None:
    members: frozenset[bytes] = frozenset()
    for *values, is_blob, payload in found:
        *row, timeline, old, first, chain = msgspec.convert(values, _Values, strict=True)
        log.chains[timeline, row[0]] = row[5]
        place = (timeline, row[0]) if old is None else (old, first)
        log.chains.setdefault(place, chain or b"")
        entry = LogRow(*row, place)
        log.rows.append(entry)
        if not members:
            members = frozenset({entry.sender})
            log.joined[entry.sender] = 0
        log.roster[entry.place] = members
        if entry.kind == COMMIT:
            assert not is_blob, "the checker reads commits of small groups only"
            assert isinstance(payload, bytes)
            change = RosterChange.decode(peek(payload).authenticated_data)
            members = (members - set(change.removed)) | set(change.added)
            log.joined.update(dict.fromkeys(change.added, entry.seq))
    log.members = members
