"""What one makes of a head without a proof: every case, on a vault's tables alone."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import sqlcipher3.dbapi2 as sqlcipher

from pli_client.engine.log_watch import Question, look
from pli_client.engine.work import Work
from pli_client.store import log_heads
from pli_client.vault.schema import MIGRATIONS
from pli_protocol.identity import SigningKey
from pli_protocol.transparency import SignedHead, TreeHead, sign_head

RELAY, KEY = "relay.test", SigningKey.from_seed(bytes(32))
SOMEBODY = b"p" * 16
ROOT, OTHER = b"r" * 32, b"o" * 32


@dataclass
class Scene:
    """The part of `Work` that is needed."""

    db: Any
    now: int = 1
    events: list[dict[str, Any]] = field(default_factory=list)

    def event(self, _conversation: bytes | None, kind: str, **body: Any) -> None:
        self.events.append({"kind": kind, **body})


@pytest.fixture
def scene() -> Iterator[Scene]:
    db = sqlcipher.connect(":memory:", isolation_level=None)
    for statement in (s for step in MIGRATIONS for s in step):
        db.execute(statement)
    log_heads.pin_key(db, RELAY, KEY.public, 1)
    log_heads.keep(db, signed(2, 10))
    yield Scene(db)
    db.close()


def signed(
    timeline: int, size: int, root: bytes = ROOT, key: SigningKey = KEY, relay: str = RELAY
) -> SignedHead:
    return sign_head(relay, TreeHead(timeline, size, root, 5), key)


def seen(scene: Scene, head: SignedHead, by: bytes | None = None) -> Question | str | None:
    return look(cast(Work, scene), head, by)


CONTRADICTIONS = [
    ("a bad signature", SignedHead(TreeHead(2, 11, ROOT, 5), bytes(64)), None, "signature"),
    ("another relay's", signed(2, 11, relay="other.test"), None, "signature"),
    ("another root at the same size", signed(2, 10, OTHER), None, "forked"),
    ("the same, from somebody", signed(2, 10, OTHER), SOMEBODY, "forked"),
    ("a shorter log", signed(2, 9), None, "truncated"),
    ("an older timeline", signed(1, 99), None, "set-back"),
]


@pytest.mark.parametrize(("what", "head", "by", "reason"), CONTRADICTIONS)
def test_a_contradiction_is_kept_and_told(
    scene: Scene, what: str, head: SignedHead, by: bytes | None, reason: str
) -> None:
    assert seen(scene, head, by) == reason
    (kept,) = log_heads.contradictions(scene.db)
    assert (kept.reason, kept.other, kept.by, kept.ours) == (reason, head, by, signed(2, 10))
    assert scene.events == [{"kind": "log-contradicted", "reason": reason, "by": by}]
    assert log_heads.newest(scene.db) == signed(2, 10)


AGREEMENTS = [
    ("the same head", signed(2, 10), None),
    ("the same head from somebody", signed(2, 10), SOMEBODY),
    (
        "nothing that the relay signed, from somebody",
        signed(2, 11, key=SigningKey.generate()),
        SOMEBODY,
    ),
    ("an older timeline, from somebody who was away", signed(1, 99), SOMEBODY),
]


@pytest.mark.parametrize(("what", "head", "by"), AGREEMENTS)
def test_what_tells_nothing_changes_nothing(
    scene: Scene, what: str, head: SignedHead, by: bytes | None
) -> None:
    assert seen(scene, head, by) is None
    assert log_heads.contradictions(scene.db) == []
    assert log_heads.newest(scene.db) == signed(2, 10)


def test_a_larger_head_is_a_question_whoever_shows_it(scene: Scene) -> None:
    larger = signed(2, 11, OTHER)
    assert seen(scene, larger) == Question(signed(2, 10), larger, None)
    assert seen(scene, larger, SOMEBODY) == Question(signed(2, 10), larger, SOMEBODY)
    smaller = signed(2, 9, OTHER)
    assert seen(scene, smaller, SOMEBODY) == Question(smaller, signed(2, 10), SOMEBODY)
    assert log_heads.newest(scene.db) == signed(2, 10)


def test_a_new_timeline_is_kept_and_told(scene: Scene) -> None:
    assert seen(scene, signed(7, 3)) is None
    assert log_heads.newest(scene.db) == signed(7, 3)
    assert scene.events == [{"kind": "log-anew", "timeline": 7, "before": 2, "size": 10}]
    assert log_heads.head_of(scene.db, 2) == signed(2, 10)


def test_a_conversation_is_told_a_head_once(scene: Scene) -> None:
    one, two = b"1" * 16, b"2" * 16
    assert log_heads.to_tell(scene.db, one) == signed(2, 10)
    assert log_heads.to_tell(scene.db, one) is None
    assert log_heads.to_tell(scene.db, two) == signed(2, 10)
    log_heads.keep(scene.db, signed(2, 11))
    assert log_heads.to_tell(scene.db, one) == signed(2, 11)


def test_evidence_is_bounded_and_the_first_stays(scene: Scene) -> None:
    for size in range(log_heads.MOST_EVIDENCE + 5):
        seen(scene, signed(2, 10, size.to_bytes(32, "big")))
    kept = log_heads.contradictions(scene.db)
    assert len(kept) == log_heads.MOST_EVIDENCE
    assert kept[0].other.head.root == bytes(32)
