"""The device at the relay's door: its chain, its signature, its token, all from the vault."""

from pli_protocol.identity import SigningKey

from ..store import device
from ..vault import Vault, transaction

TOKEN = transaction("token")


class DeviceSigner:
    """See connection.Signer."""

    def __init__(self, vault: Vault, chain: tuple[bytes, bytes, bytes], key: SigningKey) -> None:
        self._vault, self._key = vault, key
        self.newest = self.shown = chain

    @property
    def chain(self) -> tuple[bytes, bytes, bytes]:
        """The newest; from now on the one that the relay was shown."""
        self.shown = self.newest
        return self.newest

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    async def token(self) -> bytes | None:
        return await self._vault.read(device.read_token)

    async def store_token(self, token: bytes) -> None:
        await self._vault.write(lambda db: device.write_token(db, token), name=TOKEN)
