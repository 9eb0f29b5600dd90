"""Password and second factor: set up, checked, counted, the same answers for everybody."""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import encode
from pli_protocol.secret import Secret
from pli_server import settings
from pli_server.accounts import key_file
from pli_server.accounts.passwords import Passwords
from pli_server.accounts.second_factor import SealedSecrets, new_secret, recovery_hash, step_of
from pli_server.errors import OperatorError, Refusal
from pli_server.relay import Relay
from pli_server.sweep import sweep

from .conftest import Server
from .credentials import Clock, Factors, code_of
from .databases import SQLITE
from .people import TestEstablishment
from .raw_client import RawClient, Refused
from .team import Member, joins

CHEAP = settings.Accounts(password_memory_kib=8 * 1024, password_passes=1)


@pytest.fixture
def clock(server: Server) -> Clock:
    made = Clock()
    server.clock = made
    return made


@pytest.fixture
async def anne(server: Server, clock: Clock, home: TestEstablishment) -> tuple[Member, Factors]:
    """A person whose password and second factor are set up."""
    member, factors = await joins(server, home), Factors(clock)
    await factors.set_up(member.client)
    return member, factors


async def refusal(asked: Awaitable[object]) -> f.Refused:
    with pytest.raises(Refused) as caught:
        await asked
    return caught.value.frame


async def opens(
    server: Server, home: TestEstablishment, account: bytes, password: bytes, code: str
) -> RawClient:
    """A device that nobody knows opens the account."""
    client = await server.open()
    await client.ask(f.OpenAccount(client.rid(), home.id, account, password, code))
    return client


# --- setting up ---------------------------------------------------------------------------------


async def test_what_is_set_up_is_told(server: Server, home: TestEstablishment) -> None:
    clock = server.clock = Clock()
    anne, factors = await joins(server, home), Factors(clock)
    seen = []
    for step in (lambda: asyncio.sleep(0), lambda: factors.set_up(anne.client)):
        await step()
        held = await anne.client.ask(f.GetAccount(anne.client.rid()))
        seen.append((held.password, held.second_factor, held.recovery_codes))
    assert seen == [(False, False, 0), (True, True, 10)]


async def test_a_second_factor_begins_with_its_first_right_code(
    server: Server, clock: Clock, home: TestEstablishment
) -> None:
    client = (await joins(server, home)).client
    early = await refusal(client.ask(f.ConfirmSecondFactor(client.rid(), "123456")))
    secret = (await client.ask(f.BeginSecondFactor(client.rid()))).secret
    wrong = code_of(secret, clock.now + 3_600_000)
    refused = await refusal(client.ask(f.ConfirmSecondFactor(client.rid(), wrong)))
    assert (early.code, refused.code) == ("not-found", "not-accepted")
    assert not (await client.ask(f.GetAccount(client.rid()))).second_factor
    codes = await client.ask(f.ConfirmSecondFactor(client.rid(), code_of(secret, clock.now)))
    assert len(set(codes.codes)) == f.RECOVERY_CODES


async def test_what_is_set_up_guards_its_own_change(anne: tuple[Member, Factors]) -> None:
    client, factors = anne[0].client, anne[1]
    changes: tuple[Callable[[], Any], ...] = (
        lambda: f.SetPassword(client.rid(), os.urandom(32)),
        lambda: f.BeginSecondFactor(client.rid()),
        lambda: f.RenewRecoveryCodes(client.rid()),
    )
    assert [(await refusal(client.ask(make()))).code for make in changes] == ["step-up"] * 3
    await factors.step_up(client)
    for make in changes:
        await client.ask(make())


async def test_a_step_up_lasts_ten_minutes_on_its_connection(
    server: Server, anne: tuple[Member, Factors]
) -> None:
    client, factors = anne[0].client, anne[1]
    await factors.step_up(client)
    factors.clock.moves(599)
    factors.recovery = (await client.ask(f.RenewRecoveryCodes(client.rid()))).codes
    factors.clock.moves(1)
    assert (await refusal(client.ask(f.RenewRecoveryCodes(client.rid())))).code == "step-up"
    await factors.step_up(client)
    other = await server.signed(anne[0].device, client.signed_in.token)
    assert (await refusal(other.ask(f.RenewRecoveryCodes(other.rid())))).code == "step-up"


# --- codes --------------------------------------------------------------------------------------


async def test_a_totp_code_is_used_once(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    code = factors.code()
    account = member.person.account
    await opens(server, home, account, factors.password, code)
    again = await refusal(opens(server, home, account, factors.password, code))
    assert again.code == "not-accepted"
    before = code_of(factors.secret, factors.clock.now - 30_000)
    assert (await refusal(opens(server, home, account, factors.password, before))).code == (
        "not-accepted"
    ), "an older code than the last one taken"


async def test_one_of_many_that_show_the_same_code_at_once_is_taken(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    code = factors.code()
    tries = [opens(server, home, member.person.account, factors.password, code) for _ in range(4)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, RawClient) for result in results) == 1


async def test_a_clock_may_be_a_step_wrong_and_no_more(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    account = member.person.account
    factors.clock.moves(600)
    now = factors.clock.now
    taken = []
    for steps in (-2, -1, 0, 1, 2):
        code = code_of(factors.secret, now + steps * 30_000)
        try:
            await opens(server, home, account, factors.password, code)
        except Refused:
            continue
        taken.append(steps)
    assert taken == [-1, 0, 1]


async def test_a_recovery_code_is_used_once_however_it_is_written(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    account, code = member.person.account, factors.recovery[3]
    await opens(server, home, account, factors.password, code.upper().replace("-", " "))
    assert (await refusal(opens(server, home, account, factors.password, code))).code == (
        "not-accepted"
    )
    client = member.client
    assert (await client.ask(f.GetAccount(client.rid()))).recovery_codes == 9


async def test_new_recovery_codes_end_the_old_ones(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    await factors.step_up(member.client)
    new = (await member.client.ask(f.RenewRecoveryCodes(member.client.rid()))).codes
    old = opens(server, home, member.person.account, factors.password, factors.recovery[0])
    assert (await refusal(old)).code == "not-accepted"
    await opens(server, home, member.person.account, factors.password, new[0])


# --- guessing -----------------------------------------------------------------------------------


async def test_failures_lock_an_account_for_longer_and_longer(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    account, waits = member.person.account, []
    for _ in range(7):
        refused = await refusal(opens(server, home, account, os.urandom(32), "123456"))
        waits.append(refused.retry_after)
        factors.clock.moves((refused.retry_after or 0) / 1000)
    assert waits == [None] * 4 + [60_000, 120_000, 240_000]
    await opens(server, home, account, factors.password, factors.code())
    assert (await refusal(opens(server, home, account, bytes(32), "1"))).retry_after is None


async def test_a_lock_holds_also_against_who_is_right_and_counts_nothing(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    account = member.person.account
    for _ in range(5):
        await refusal(opens(server, home, account, os.urandom(32), "123456"))
    for _ in range(3):
        refused = await refusal(opens(server, home, account, factors.password, "123456"))
        assert refused.retry_after == 60_000
    factors.clock.moves(59)
    code = code_of(factors.secret, factors.clock.now)
    assert (await refusal(opens(server, home, account, factors.password, code))).retry_after == 1000
    factors.clock.moves(1)
    await opens(server, home, account, factors.password, factors.code())


async def test_attempts_to_step_up_count_together_over_connections(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    client, token = member.client, member.client.signed_in.token
    for _ in range(5):
        waits = await refusal(client.ask(f.StepUp(client.rid(), factors.password, "000000")))
        client = await server.signed(member.device, token)
        token = client.signed_in.token
    assert waits.retry_after == 60_000


async def test_a_stranger_locks_nobody_out_who_is_signed_in_and_stepping_up_ends_the_lock(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    account = member.person.account
    for _ in range(5):
        locked = await refusal(opens(server, home, account, os.urandom(32), "123456"))
    assert locked.retry_after == 60_000
    await factors.step_up(member.client)
    await opens(server, home, account, factors.password, factors.code())


async def test_strangers_leave_places_to_who_is_inside_and_who_finds_none_is_not_counted(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    account, places = member.person.account, ExitStack()
    passwords = server.relay.passwords
    with places:
        for _ in range(passwords.places(stranger=True)):
            places.enter_context(passwords.place(stranger=True))
        for _ in range(5):
            busy = await refusal(opens(server, home, account, factors.password, "123456"))
            assert busy.code == "try-later"
        await factors.step_up(member.client)
    await opens(server, home, account, factors.password, factors.code())


async def test_a_password_that_was_changed_while_it_was_checked_opens_nothing_and_stays_changed(
    server: Server,
    home: TestEstablishment,
    anne: tuple[Member, Factors],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    member, factors = anne
    account, old = member.person.account, factors.password
    await factors.step_up(member.client)
    check = server.relay.passwords.check

    async def meanwhile(stored: str | None, derived: bytes) -> str | None:
        monkeypatch.undo()
        factors.password = os.urandom(32)
        await member.client.ask(f.SetPassword(member.client.rid(), factors.password))
        return await check(stored, derived)

    monkeypatch.setattr(server.relay.passwords, "check", meanwhile)
    refused = await refusal(opens(server, home, account, old, factors.code()))
    assert refused.code == "not-accepted"
    await opens(server, home, account, factors.password, factors.code())


async def test_many_at_once_are_no_way_around_the_limit(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    """Each is counted before its password is looked at."""
    member, factors = anne
    tries = [
        opens(server, home, member.person.account, factors.password, f"{n:06}") for n in range(20)
    ]
    results = await asyncio.gather(*map(refusal, tries))
    waits = sorted(result.retry_after or 0 for result in results)
    assert waits == [0] * 4 + [60_000] * 16


async def test_two_nodes_on_one_database_count_together(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    account = member.person.account
    code = factors.code()
    await opens(server, home, account, factors.password, code)
    for _ in range(2):
        await refusal(opens(server, home, account, os.urandom(32), "123456"))
    other = Server(server.folder, server.code)
    other.clock = factors.clock
    await other.start()
    try:
        again = await refusal(opens(other, home, account, factors.password, code))
        assert (again.code, again.retry_after) == ("not-accepted", None)
        await refusal(opens(other, home, account, os.urandom(32), "123456"))
        fifth = await refusal(opens(server, home, account, os.urandom(32), "123456"))
        assert fifth.retry_after == 60_000
        locked = await refusal(opens(other, home, account, factors.password, factors.code()))
        assert locked.retry_after == 30_000
    finally:
        await other.stop()


async def test_the_names_that_are_remembered_are_bounded_and_forgotten(
    server: Server, clock: Clock, home: TestEstablishment
) -> None:
    server.relay.settings = msgspec.structs.replace(
        server.relay.settings, accounts=settings.Accounts(attempts_kept=3)
    )

    async def names() -> int:
        return await server.relay.readers.run(
            lambda db: db.exec_driver_sql("SELECT count(*) FROM attempts").scalar() or 0
        )

    for _ in range(5):
        clock.moves(1)
        await refusal(opens(server, home, os.urandom(16), bytes(32), "123456"))
    assert await names() == 3
    clock.moves(86_401)
    await sweep(server.relay)
    assert await names() == 0


# --- the same for everybody ---------------------------------------------------------------------


async def test_unknown_and_known_names_get_the_same_bytes_after_the_same_work(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    bare = await joins(server, home)
    half = await joins(server, home)
    await half.client.ask(f.SetPassword(half.client.rid(), factors.password))
    gone = await joins(server, home)
    await Factors(factors.clock, factors.password).set_up(gone.client)
    server.change("UPDATE accounts SET revoked = 1 WHERE no = (SELECT max(no) FROM accounts)")
    right = code_of(factors.secret, factors.clock.now + 30_000)
    cases = {
        "wrong password": (home.id, member.person.account, os.urandom(32), right),
        "wrong code": (home.id, member.person.account, factors.password, "000000"),
        "wrong recovery code": (home.id, member.person.account, factors.password, "aaaa-bbbb"),
        "unknown name": (home.id, os.urandom(16), factors.password, right),
        "unknown establishment": (os.urandom(16), member.person.account, factors.password, right),
        "no password": (home.id, bare.person.account, factors.password, right),
        "no second factor": (home.id, half.person.account, factors.password, right),
        "revoked": (home.id, gone.person.account, factors.password, "000000"),
    }
    answers = {name: await _measured(server, *case) for name, case in cases.items()}
    first = answers["wrong password"]
    assert answers == dict.fromkeys(cases, first)
    assert first[1] == 1


async def test_unknown_and_known_names_are_locked_alike(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    seen = []
    for account in (member.person.account, os.urandom(16)):
        case = (home.id, account, os.urandom(32), "123456")
        seen.append([await _measured(server, *case) for _ in range(7)])
    assert seen[0] == seen[1]
    assert [work for _, work in seen[0]] == [1] * 7


async def _measured(
    server: Server, establishment: bytes, account: bytes, password: bytes, code: str
) -> tuple[bytes, int]:
    """The bytes of the refusal, and how often Argon2 ran for it."""
    client = await server.open()
    before = server.relay.passwords.computed
    asked = f.OpenAccount(7, establishment, account, password, code)
    answer = encode(await refusal(client.ask(asked)))
    await client.close()
    return answer, server.relay.passwords.computed - before


# --- many at once -------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [SQLITE])
async def test_two_hundred_sign_ins_at_once_are_bounded_and_stall_nobody(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    """At most one Argon2 at a time; messages and sign-ins by key go on in between."""
    member, _ = anne
    server.relay.passwords.close()
    server.relay.passwords = Passwords(CHEAP)
    running, most = 0, 0
    check = server.relay.passwords._check

    def counted(stored: str | None, derived: bytes) -> str | None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return check(stored, derived)
        finally:
            running -= 1

    server.relay.passwords._check = counted  # type: ignore[method-assign]
    clients = [await server.open() for _ in range(100)]
    asked = [
        await client.begin(
            f.OpenAccount(client.rid(), home.id, os.urandom(16), bytes(32), "123456")
        )
        for client in clients
        for _ in range(2)
    ]
    await member.client.ask(f.GetAccount(member.client.rid()))
    assert not all(answer.done() for answer in asked), "an honest user waits for all of them"
    codes = {frame.code for frame in [await refusal(answer) for answer in asked]}
    assert (codes, most) == ({"not-accepted"}, 1)


async def test_more_than_may_wait_are_told_to_come_back() -> None:
    passwords = Passwords(msgspec.structs.replace(CHEAP, password_checks_waiting=2))

    async def check() -> None:
        with passwords.place():
            await passwords.check(None, bytes(32))

    results = await asyncio.gather(*(check() for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, Refusal)]
    assert [(r.code, r.retry_after) for r in refused] == [("try-later", 2_000)] * 3
    assert passwords.computed == 2
    passwords.close()


async def test_a_hash_of_a_lower_cost_is_replaced_when_its_password_is_right() -> None:
    weak = Passwords(CHEAP)
    strong = Passwords(msgspec.structs.replace(CHEAP, password_passes=2))
    stored = await weak.hash(bytes(32))
    assert await weak.check(stored, bytes(32)) == stored
    better = await strong.check(stored, bytes(32))
    assert better is not None
    assert "t=2" in better
    assert await strong.check(stored, os.urandom(32)) is None
    for passwords in (weak, strong):
        passwords.close()


# --- what is stored -----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [SQLITE])
async def test_the_database_holds_neither_secret_nor_password_nor_code(
    server: Server, anne: tuple[Member, Factors]
) -> None:
    _, factors = anne
    await server.relay.writer.do("sweep", lambda tx: None)
    server.change("PRAGMA wal_checkpoint(TRUNCATE)")
    held = b"".join(path.read_bytes() for path in server.folder.glob("relay.db*"))
    for secret in (factors.password, factors.secret, *map(str.encode, factors.recovery)):
        assert secret not in held
    assert recovery_hash(factors.recovery[0]) in held


def test_a_sealed_secret_opens_for_its_holder_under_its_key_only() -> None:
    secret, key = new_secret(), SealedSecrets(Secret(bytes(32)))
    sealed = key.seal(secret, b"e" * 16, b"h" * 16)
    assert key.open(sealed, b"e" * 16, b"h" * 16) == secret
    assert key.open(sealed, b"e" * 16, b"x" * 16) is None
    assert SealedSecrets(Secret(b"\1" * 32)).open(sealed, b"e" * 16, b"h" * 16) is None


def test_the_vectors_of_rfc_6238() -> None:
    """Appendix B, the last six of the eight digits (SHA-1)."""
    secret = b"12345678901234567890"
    for seconds, code in ((59, "287082"), (1111111109, "081804"), (20000000000, "353130")):
        assert step_of(secret, code, seconds * 1000) == seconds // 30


async def test_the_key_file_is_private_and_must_be_the_databases_own(server: Server) -> None:
    path = server.folder / key_file.FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = path.read_bytes()
    for wrong in (None, bytes(32), b"short"):
        path.unlink(missing_ok=True)
        if wrong is not None:
            path.write_bytes(wrong)
        with pytest.raises(OperatorError, match="copy it from the backup"):
            await _starts(server.folder)
    path.write_bytes(key)
    await _starts(server.folder)


async def test_a_relay_of_before_gets_its_key_at_the_first_start(server: Server) -> None:
    server.change("DELETE FROM meta WHERE key = 'accounts-key'")
    (server.folder / key_file.FILE_NAME).unlink()
    await server.restart()
    assert len((server.folder / key_file.FILE_NAME).read_bytes()) == key_file.KEY_SIZE


async def _starts(folder: Path) -> None:
    relay = Relay(folder, settings.load(folder))
    await relay.start()
    await relay.stop()


# --- the issuer, and the list of devices --------------------------------------------------------


async def test_the_issuer_resets_an_account_after_stepping_up(
    server: Server, home: TestEstablishment, anne: tuple[Member, Factors]
) -> None:
    member, factors = anne
    issuer = await server.issuer(home)
    own = Factors(factors.clock)
    await own.set_up(issuer)
    account = member.person.account
    reset = await refusal(issuer.ask(f.ResetCredentials(issuer.rid(), account)))
    assert reset.code == "step-up"
    await own.step_up(issuer)
    unknown = await refusal(issuer.ask(f.ResetCredentials(issuer.rid(), os.urandom(16))))
    assert unknown.code == "not-found"
    await issuer.ask(f.ResetCredentials(issuer.rid(), account))
    held = await member.client.ask(f.GetAccount(member.client.rid()))
    assert (held.password, held.second_factor, held.recovery_codes) == (False, False, 0)
    refused = await refusal(opens(server, home, account, factors.password, factors.recovery[0]))
    assert refused.code == "not-accepted"


async def test_nobody_opens_an_issuer_as_an_account(
    server: Server, clock: Clock, home: TestEstablishment
) -> None:
    issuer, own = await server.issuer(home), Factors(clock)
    await own.set_up(issuer)
    holder = await server.relay.readers.run(
        lambda db: db.exec_driver_sql("SELECT holder FROM credentials").scalar()
    )
    assert isinstance(holder, bytes)
    refused = await refusal(opens(server, home, holder, own.password, own.code()))
    assert refused.code == "not-accepted"


async def test_devices_are_listed_to_their_person_and_to_the_issuer(
    server: Server, clock: Clock, home: TestEstablishment
) -> None:
    anne, karim = await joins(server, home), await joins(server, home)
    await anne.client.ask(f.PublishKeyPackages(anne.client.rid(), (b"kp",)))
    issuer = await server.issuer(home)
    own = await anne.client.ask(f.GetDevices(anne.client.rid()))
    account = anne.person.account
    told = await issuer.ask(f.GetDevices(issuer.rid(), account))
    assert own.devices == told.devices
    (device,) = own.devices
    assert (device.device, device.revoked, device.cloned, device.stocked) == (
        anne.id,
        None,
        False,
        True,
    )
    assert device.created == device.last_seen == clock.now
    for asked in (account, os.urandom(16)):
        client = karim.client
        assert (await refusal(client.ask(f.GetDevices(client.rid(), asked)))).code == "not-found"
