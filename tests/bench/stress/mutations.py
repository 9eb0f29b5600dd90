"""Frames of ours, damaged: a byte changed, some cut off, some put in. Seeded, so a run can be repeated."""

import random
from collections.abc import Iterator

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import encode
from tests.server.people import commit, mls

GROUP = b"g" * 16

SAMPLES = tuple(
    encode(frame)
    for frame in (
        f.Hello((1,)),
        f.SignIn(1, (bytes(300), bytes(300), bytes(300)), bytes(64)),
        f.RegisterEstablishment(1, "c", b"\x30", b"\x30", b"\x95", bytes(64)),
        f.RequestEnrolment(1, bytes(16), bytes(16), b"sealed"),
        f.FetchEnrolment(1, bytes(16)),
        f.GetEstablishment(1, bytes(16)),
        f.Send(1, bytes(16), None, mls(GROUP, 1)),
        f.Send(1, bytes(16), None, commit(GROUP, 1, (bytes(16),)), b"welcome"),
        f.Acknowledge((f.Acknowledgement(GROUP, 2**52),)),
        f.Fetch(1, GROUP, 0, 1),
        f.ReportCommit(GROUP, 1, True, "x"),
        f.CreateGroup(1, GROUP, bytes(16), commit(GROUP, 0)),
        f.PutBlob(1, bytes(32), 0, 2**20, b"x"),
        f.GetBlob(1, bytes(32), 2**40),
        f.ClaimKeyPackages(1, (bytes(16),)),
        f.PublishKeyPackages(1, (b"kp",), b"last"),
        f.LeaveGroup(1, GROUP, b"\x95\x01"),
        f.AskReturn(1, GROUP, bytes(16), b"\x95\x01"),
        f.PublishRevocations(1, f.BlobRef(bytes(32), 2**40, bytes(32))),
        f.GetDirectory(1, b"\xff" * 16),
        f.GetGroups(1),
    )
)


def mutated(seed: int) -> Iterator[bytes]:
    """Damaged frames for ever."""
    chance = random.Random(seed)
    while True:
        data = bytearray(chance.choice(SAMPLES))
        for _ in range(chance.randint(0, 3)):
            place = chance.randrange(len(data) + 1)
            match chance.choice(("change", "change", "cut", "insert", "long")):
                case "change":
                    data[place : place + 1] = chance.randbytes(1)
                case "cut":
                    del data[place:]
                case "insert":
                    data[place:place] = chance.randbytes(chance.randint(1, 8))
                case "long":
                    data[place:place] = bytes(chance.choice((100, 5_000, 60_000)))
        yield bytes(data)
