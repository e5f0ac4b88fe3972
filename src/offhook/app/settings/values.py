"""What settings are made of: addresses, lists and ranges as people write them."""

import ipaddress
from typing import Literal, NamedTuple


class HostPort(NamedTuple):
    """An address to listen at; port 0 means any free one."""

    host: str
    port: int


class SipListen(NamedTuple):
    """A SIP listener: transport ("udp" or "tcp"), host, port."""

    transport: Literal["udp", "tcp"]
    host: str
    port: int


def items(text: str) -> list[str]:
    """Return the parts of a text with commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


def host_port(text: str) -> HostPort:
    """Read `host:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not host:port")
    return HostPort(host.removeprefix("[").removesuffix("]"), int(port))


def sip_listen(text: str) -> SipListen:
    """Read `transport:host:port`."""
    transport, _, address = text.partition(":")
    if transport not in ("udp", "tcp"):
        raise ValueError(f"{text!r} is not transport:host:port with transport udp or tcp")
    return SipListen("udp" if transport == "udp" else "tcp", *host_port(address))


def port_range(text: str) -> tuple[int, int]:
    """Read `low-high`."""
    low, _, high = text.partition("-")
    if not (low.isdigit() and high.isdigit() and 1024 <= int(low) < int(high) <= 65535):
        raise ValueError(f"{text!r} is not a range like 20000-20999 between 1024 and 65535")
    return int(low), int(high)


def is_loopback(host: str) -> bool:
    """Tell whether an address leads back to this machine; a name never does."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_network(text: str) -> bool:
    """Tell whether this is an address or a network."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
