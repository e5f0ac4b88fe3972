"""The addresses that trunks call from, looked up again and again: carriers move."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from offhook.app.settings import TrunkSettings
from offhook.base import limits
from offhook.proto.sip import SipUri, plain_host

log = structlog.get_logger(__name__)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LookUp = Callable[[str], Awaitable[Iterable[str]]]


async def look_up(host: str) -> list[str]:
    """Return the addresses of a host.

    Raises:
        OSError: it has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    return [str(entry[4][0]) for entry in found]


class TrunkAddresses:
    """Knows which addresses are a trunk's. A name that cannot be looked up keeps the addresses it had.

    Args:
        trunks: those of the settings.
        wanted: the names of those that a route asks about; no other name is ever looked up.
        look_up: asks the resolver.
    """

    def __init__(
        self, trunks: Sequence[TrunkSettings], wanted: Iterable[str], look_up: LookUp = look_up
    ) -> None:
        asked = set(wanted)
        self._hosts = {
            trunk.name: plain_host(SipUri.parse(f"sip:{trunk.address}").host)
            for trunk in trunks
            if trunk.name in asked
        }
        self._look_up = look_up
        self._known: dict[str, frozenset[Address]] = {}

    def belongs(self, address: Address, trunk: str) -> bool:
        """Tell whether an address is one of a trunk's."""
        return address in self._known.get(trunk, frozenset())

    async def refresh(self) -> None:
        """Look all names up once."""
        await asyncio.gather(*(self._refresh(name, host) for name, host in self._hosts.items()))

    async def follow(self) -> None:
        """Look all names up for ever, as long as there are any."""
        while self._hosts:
            await asyncio.sleep(limits.TRUNK_LOOK_UP_INTERVAL_S)
            await self.refresh()

    async def _refresh(self, trunk: str, host: str) -> None:
        try:
            async with asyncio.timeout(limits.TRUNK_LOOK_UP_TIMEOUT_S):
                found = await self._look_up(host)
        except (OSError, TimeoutError) as error:
            log.warning("a trunk has no address now", trunk=trunk, reason=type(error).__name__)
            return
        self._known[trunk] = frozenset(ipaddress.ip_address(each.partition("%")[0]) for each in found)
