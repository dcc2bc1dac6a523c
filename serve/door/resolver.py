"""Names only become addresses of the public Internet, and only such are dialled.

Two bars, since a name is resolved before it is dialled and an address in a URL is never resolved: the
resolver refuses a name with any address that is not public, and no socket is made for one either.
"""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

IsPublic = Callable[[str], bool]

# What Python (3.11) takes for global, and what leads to this machine or its neighbours all the same:
# relays that carry IPv4 within IPv6, what clouds keep for themselves, and what nobody has.
_NOT_PUBLIC_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        # protocol assignments (Oracle's metadata), 6to4 relays, Azure's wire server
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"),
    )
)
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        # protocol assignments (Teredo among them), documentation, 6to4
        ("2001::/23", "2001:db8::/32", "3fff::/20", "2002::/16"),
    )
)


class AddressRefused(OSError):
    """An address that is not public was about to be dialled."""


class PublicResolver(AbstractResolver):
    """Asks another resolver, and passes on what it says if all of it is public."""

    def __init__(self, inner: AbstractResolver, is_public: IsPublic) -> None:
        self._inner = inner
        self._is_public = is_public

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises AddressRefused for a name with so much as one address that is not public."""
        results = await self._inner.resolve(host, port, family)
        if not all(self._is_public(result["host"]) for result in results):
            raise AddressRefused("the name has an address that is not public")
        return results

    async def close(self) -> None:
        """Close the resolver that is asked."""
        await self._inner.close()


def public_sockets(is_public: IsPublic) -> Callable[[Any], socket.socket]:
    """A socket factory for aiohttp: it is given every address in the moment before it is dialled."""

    def make(address: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, sockaddr = address
        if not is_public(str(sockaddr[0])):
            raise AddressRefused("the address is not public")
        return socket.socket(family, kind, protocol)

    return make


def is_public(address: str) -> bool:
    """Whether an address belongs to the public Internet; what is no address does not."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            within = parsed in _PUBLIC_V6 and not any(parsed in net for net in _NOT_PUBLIC_V6)
            return within and parsed.is_global
        parsed = parsed.ipv4_mapped
    unusual = parsed.is_multicast or parsed.is_reserved or any(parsed in net for net in _NOT_PUBLIC_V4)
    return parsed.is_global and not unusual
