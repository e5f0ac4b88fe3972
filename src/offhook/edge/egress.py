"""The one gate for outgoing addresses that an API caller can name.

Webhook URLs, stream URLs, fork targets and playback URLs come from callers. What they name is
checked *after* DNS resolution and only checked addresses are connected to, so a name that
resolves inwards, a redirect or a rebinding does not reach what only this machine should reach.
Knows addresses. Does not know who asks or what is sent.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from offhook.base.errors import ConfigError, OffhookError
from offhook.base.limits import DNS_ANSWERS_MAX, DNS_LOOKUPS_MAX, DNS_TIMEOUT_S

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

METADATA_SERVICES: tuple[IPAddress, ...] = tuple(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack and most others
        "169.254.170.2",  # AWS container credentials
        "169.254.170.23",
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure host agent
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
    )
)
"""Where clouds hand out credentials. Private egress does not open these; an allowed network does."""

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")  # RFC 8215
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that RFC 4291 section 2.4 has given out
_IPV4_COMPATIBLE = IPv6Network("::/96")  # RFC 4291 section 2.5.5.1, deprecated
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056


class EgressRefused(OffhookError):
    """The policy does not let this server talk to `host`."""

    def __init__(self, host: str) -> None:
        super().__init__(f"the egress policy of this server does not allow a connection to {host[:255]}")
        self.host = host


class EgressUnresolved(OffhookError):
    """`host` has no address, or none that could be found in time."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{host[:255]} could not be resolved: {reason}")
        self.host = host
        self.reason = reason


class Egress:
    """Says which addresses may be connected to.

    A denied network wins over an allowed one, an allowed one over every other rule. Beyond these,
    public addresses pass, private ones (loopback, link-local, RFC 1918, unique local, shared) only
    with `allow_private`, and multicast, broadcast, unspecified, reserved and cloud metadata never.

    Args:
        allow_private: let private addresses pass.
        allowed_networks: networks in CIDR notation that always pass.
        denied_networks: networks in CIDR notation that never pass.
        timeout_s: how long a name may take to resolve.

    Raises:
        ConfigError: a network is not in CIDR notation.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        allowed_networks: Iterable[str] = (),
        denied_networks: Iterable[str] = (),
        timeout_s: float = DNS_TIMEOUT_S,
    ) -> None:
        self.allow_private = allow_private
        self.refused_total = 0
        self._allowed = tuple(_network(text) for text in allowed_networks)
        self._denied = tuple(_network(text) for text in denied_networks)
        self._timeout_s = timeout_s
        self._lookups = 0
        self._permits = lru_cache(maxsize=4096)(self._decide)

    def permits(self, ip: str | IPAddress) -> bool:
        """Say whether `ip` may be connected to; a text that is no address may not."""
        try:
            return self._permits(ipaddress.ip_address(ip) if isinstance(ip, str) else ip)
        except ValueError:
            return False

    def check_ip(self, ip: str | IPAddress) -> None:
        """Raise `EgressRefused` unless `ip` may be connected to."""
        if not self.permits(ip):
            self.refused_total += 1
            raise EgressRefused(str(ip))

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        """Return the addresses of `host` that may be connected to, at least one, with `port`.

        Raises:
            EgressRefused: `host` has addresses and the policy refuses them all.
            EgressUnresolved: no address was found in time.
        """
        found = await self._lookup(host.strip("[]"), port)
        permitted = [ip for ip in found if self.permits(ip)]
        if not permitted:
            self.refused_total += 1
            raise EgressRefused(host)
        return [(ip, port) for ip in permitted[:DNS_ANSWERS_MAX]]

    def connector(self) -> aiohttp.TCPConnector:
        """Return a keep-alive pool for aiohttp that connects to permitted addresses only.

        The number of connections is the caller's to bound.
        """
        return aiohttp.TCPConnector(
            limit=0,
            resolver=EgressResolver(self),
            socket_factory=self._socket,
            # Common servers close an idle connection after 5 s; leaving first means that no request
            # is ever written into one that is just being closed.
            keepalive_timeout=4.0,
            ttl_dns_cache=10,
        )

    def _socket(
        self, address: tuple[int, int, int, str, tuple[str, int] | tuple[object, ...]]
    ) -> socket.socket:
        # The last gate: aiohttp asks no resolver for hosts that look like addresses to it.
        family, kind, proto, _, target = address
        self.check_ip(str(target[0]))
        return socket.socket(family=family, type=kind, proto=proto)

    def _decide(self, ip: IPAddress) -> bool:
        forms = _forms(ip)
        if any(form in network for form in forms for network in self._denied):
            return False
        if any(form in network for form in forms for network in self._allowed):
            return True
        return all(self._ordinary(form) for form in forms)

    def _ordinary(self, ip: IPAddress) -> bool:
        if ip in METADATA_SERVICES or ip.is_multicast or ip.is_unspecified:
            return False
        if ip.is_loopback or ip.is_link_local:  # ::1 also counts as reserved
            return self.allow_private
        if isinstance(ip, IPv4Address):
            if ip.is_reserved or int(ip) >> 24 == 0:  # 240.0.0.0/4 and broadcast; "this network"
                return False
        elif ip in _IPV4_COMPATIBLE or ip in _NAT64 or ip in _SIX_TO_FOUR or ip.ipv4_mapped is not None:
            return True  # what is inside is judged as a form of its own
        elif ip in _NAT64_LOCAL:
            return self.allow_private
        elif ip.is_reserved:
            return False
        elif ip not in _GLOBAL_UNICAST:
            return self.allow_private
        return ip.is_global or self.allow_private

    async def _lookup(self, host: str, port: int) -> list[str]:
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        if self._lookups >= DNS_LOOKUPS_MAX:
            raise EgressUnresolved(host, "too many lookups are waiting")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def finish(result: list[str] | Exception) -> None:
            self._lookups -= 1
            if answer.done():
                return
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        def work() -> None:
            result: list[str] | Exception
            try:
                result = _getaddrinfo(host, port)
            except (OSError, UnicodeError, ValueError) as err:
                result = EgressUnresolved(host, _reason(err))
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(finish, result)

        self._lookups += 1
        # A thread of its own: a name server that hangs must not hold up anyone else's work, nor the
        # end of the process.
        threading.Thread(target=work, name="offhook-dns", daemon=True).start()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            raise EgressUnresolved(host, "the name server did not answer in time") from None


class EgressResolver(AbstractResolver):
    """Lets aiohttp see permitted addresses only."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the permitted addresses of `host`; raises as `Egress.resolve` does."""
        found = await self._egress.resolve(host, port)
        return [
            ResolveResult(
                hostname=host,
                host=ip,
                port=port,
                family=socket.AF_INET6 if ":" in ip else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for ip, _ in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _network(text: str) -> IPNetwork:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"{text!r} is not a network in CIDR notation such as 10.0.0.0/8") from None


def _forms(ip: IPAddress) -> tuple[IPAddress, ...]:
    """Return `ip` and every IPv4 address that a gateway would make of it."""
    if isinstance(ip, IPv4Address):
        return (ip,)
    plain = IPv6Address(int(ip))  # without a scope such as %eth0
    inside: IPv4Address | None = plain.ipv4_mapped
    if inside is None and plain in _SIX_TO_FOUR:
        inside = IPv4Address(int(plain) >> 80 & 0xFFFFFFFF)
    elif inside is None and (plain in _NAT64 or (plain in _IPV4_COMPATIBLE and int(plain) > 1)):
        inside = IPv4Address(int(plain) & 0xFFFFFFFF)
    return (plain,) if inside is None else (plain, inside)


def _getaddrinfo(host: str, port: int) -> list[str]:
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    if not found:
        raise OSError("the name has no address")
    return found[: 4 * DNS_ANSWERS_MAX]


def _reason(err: Exception) -> str:
    if isinstance(err, socket.gaierror):
        return err.strerror or "the name server has no answer"
    return "it is not a host name" if isinstance(err, ValueError) else "the system could not look it up"
