"""Whose connection it is: the peer's address, or what a trusted proxy in front says of it."""

import ipaddress
from collections.abc import Sequence
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Addresses and networks (10.0.0.0/8) in text; raises ValueError, also for a network of everybody."""
    found = tuple(ipaddress.ip_network(text) for text in texts)
    if any(network.prefixlen == 0 for network in found):
        raise ValueError("everybody cannot be a trusted proxy")
    return found


def trusts(trusted: Sequence[Network], peer: Any) -> bool:
    """Whether a socket's peer is one of the trusted proxies."""
    if not trusted or not isinstance(peer, tuple) or not peer:
        return False
    address = _parse(str(peer[0]))
    return address is not None and _among(trusted, address)


def client(trusted: Sequence[Network], peer: Any, forwarded: Sequence[str]) -> str:
    """Whose connections are counted together: `source` of the real client.

    Args:
        forwarded: The X-Forwarded-For headers, in order. They are believed from trusted proxies only, and
            of them the last hop that is not such a proxy: what stands before it, the client may have made up.
    """
    hop = str(peer[0]) if isinstance(peer, tuple) and peer else ""
    if not trusts(trusted, peer):
        return source(hop)
    for text in reversed([part.strip() for header in forwarded for part in header.split(",")]):
        address = _parse(text)
        if address is None:
            break
        hop = text
        if not _among(trusted, address):
            break
    return source(hop)


def source(text: str) -> str:
    """An IPv4 address, or an IPv6 network of 64 bits, since whoever has one address of it has them all."""
    address = _parse(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return text if address is None else str(address)


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _among(trusted: Sequence[Network], address: Address) -> bool:
    return any(address.version == network.version and address in network for network in trusted)
