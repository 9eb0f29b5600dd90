"""Passwords and second factors for tests: set up through frames, codes for any moment."""

import base64
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyotp

from pli_protocol.relay import frames as f
from pli_server.relay import now_ms

from .raw_client import RawClient

STEP_MS = 30_000


class Clock:
    """The relay's time: stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_795_000_020_000

    def __call__(self) -> int:
        return self.now

    def moves(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


class SystemClock(Clock):
    """The relay keeps this machine's time; the steps are never shown twice in a test."""

    def __init__(self) -> None:
        self.now = now_ms() - STEP_MS


def code_of(secret: bytes, now_ms: int) -> str:
    """The code that an authenticator shows."""
    return pyotp.TOTP(base64.b32encode(secret).decode()).at(now_ms // 1000)


@dataclass
class Factors:
    """What one person has."""

    clock: Clock
    password: bytes = field(default_factory=lambda: os.urandom(32))
    secret: bytes = b""
    recovery: tuple[str, ...] = ()

    def code(self) -> str:
        """The next code that was not shown yet: time goes on by a step."""
        self.clock.moves(STEP_MS / 1000)
        return code_of(self.secret, self.clock.now)

    async def set_up(self, client: RawClient) -> None:
        """Password and second factor of who is signed in."""
        await client.ask(f.SetPassword(client.rid(), self.password))
        begun = await client.ask(f.BeginSecondFactor(client.rid()))
        self.secret = begun.secret
        codes = await client.ask(f.ConfirmSecondFactor(client.rid(), self.code()))
        self.recovery = codes.codes

    async def step_up(self, client: RawClient) -> None:
        await client.ask(f.StepUp(client.rid(), self.password, self.code()))


Ask = Callable[[f.Request], Awaitable[Any]]


class Authenticator:
    """Sets up and steps up by this machine's clock, again and again while a relay dies under it.

    The window takes the codes of three steps, so it can show three that differ at once.
    """

    def __init__(self, password: bytes | None = None) -> None:
        self.password = password or os.urandom(32)
        self._secret = b""
        self._shown = -2

    def code(self) -> str:
        """A code that was not shown before."""
        self._shown += 1
        assert self._shown <= 1, "more codes than three steps have"
        return code_of(self._secret, now_ms() + self._shown * STEP_MS)

    async def set_up(self, ask: Ask) -> None:
        if (await ask(f.GetAccount(0))).second_factor:
            return
        await ask(f.SetPassword(0, self.password))
        self._secret = (await ask(f.BeginSecondFactor(0))).secret
        self._shown = -2
        await ask(f.ConfirmSecondFactor(0, self.code()))

    async def step_up(self, ask: Ask) -> None:
        await ask(f.StepUp(0, self.password, self.code()))


def asking(client: RawClient) -> Ask:
    """Requests of a raw client, numbered."""
    return lambda frame: client.ask(msgspec.structs.replace(frame, rid=client.rid()))
