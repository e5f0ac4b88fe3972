"""Which address of ours a peer can reach."""

import ipaddress
import socket

from offhook.base.limits import SIP_ROUTES_CACHED_MAX

_ANY = ("0.0.0.0", "::", "")


class LocalAddresses:
    """Answers by configuration, by what is bound, or by asking the routing table."""

    def __init__(self, public_address: str | None) -> None:
        self._public = public_address
        self._routes: dict[str, str] = {}

    def advertised(self, bound_host: str, remote_host: str) -> str:
        """Return what to write into Via and Contact on a socket bound to `bound_host`."""
        if bound_host in _ANY or (self._public is not None and not _is_loopback(bound_host)):
            return self.towards(remote_host)
        return bound_host

    def towards(self, remote_host: str) -> str:
        """Return our address for a peer: loopback for itself, else the public one, else by route."""
        if _is_loopback(remote_host):
            return "::1" if ":" in remote_host else "127.0.0.1"
        if self._public is not None:
            return self._public
        known = self._routes.get(remote_host)
        if known is None:
            known = _by_route(remote_host)
            if len(self._routes) >= SIP_ROUTES_CACHED_MAX:
                # Oldest first: a scanner with many addresses must not grow this for ever.
                del self._routes[next(iter(self._routes))]
            self._routes[remote_host] = known
        return known


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _by_route(remote_host: str) -> str:
    six = ":" in remote_host
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing; it only makes the kernel choose the source.
            probe.connect((remote_host, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if six else "127.0.0.1"
