"""Answers to requests: which headers they repeat and where they go (RFC 3261 §8.2.6, §18.2, RFC 3581)."""

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

from offhook.proto.sip.events import Flow
from offhook.proto.sip.message import Header, Request, reason_phrase
from offhook.proto.sip.values import SipSyntaxError, Via

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, NOTIFY"
SDP_TYPE = "application/sdp"

_PRIVATE = tuple(
    ipaddress.ip_network(net)
    for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)


def url_host(host: str) -> str:
    """Return a host as URIs and Via write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def plain_host(host: str) -> str:
    """Return a host without the brackets of IPv6."""
    return host[1:-1] if host.startswith("[") else host


def is_address(host: str) -> bool:
    """Say whether `host` is a numeric address, which needs no resolver."""
    try:
        ipaddress.ip_address(plain_host(host))
    except ValueError:
        return False
    return True


def reach(host: str) -> int:
    """Return how far a numeric address can be seen: 0 this machine or link, 1 a private net, 2 everywhere."""
    try:
        address = ipaddress.ip_address(plain_host(host))
    except ValueError:
        return 2
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return 0
    return 1 if any(address in net for net in _PRIVATE if net.version == address.version) else 2


def reply_flow(via: Via, flow: Flow) -> Flow:
    """Return where responses go.

    A stream: back over its connection. UDP with `rport`: to the very source (RFC 3581). UDP
    without: to the source address and the port of Via (§18.2.2), unless Via names another numeric
    address, which is the mark of a NAT that only the source port gets through.
    """
    if flow.reliable or "rport" in via.parameters:
        return flow
    host, port = flow.remote
    claimed = plain_host(via.host)
    if (claimed != host and is_address(claimed)) or port == (via.port or 5060):
        return flow
    return replace(flow, remote=(host, via.port or 5060))


def echoed_headers(request: Request, source: Flow, to_tag: str) -> str:
    """Return, as text, the header lines that every response repeats from its request."""
    via_lines = request.get_lines("via")
    lines = [f"Via: {_top_via(request.via, via_lines[0], source)}\r\n"]
    lines.extend(f"Via: {value}\r\n" for value in via_lines[1:])
    for name in ("From", "To", "Call-ID", "CSeq"):
        value = request.get(name.lower())
        if value is None:
            continue
        if name == "To" and to_tag and not _has_tag(request):
            value = f"{value};tag={to_tag}"
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines)


def make_response(
    status: int,
    echoed: str,
    *,
    reason: str | None = None,
    headers: Iterable[Header] = (),
    body: bytes = b"",
) -> bytes:
    """Write a response from the lines of `echoed_headers`, its own headers and an SDP body."""
    lines = [f"SIP/2.0 {status} {reason or reason_phrase(status)}\r\n", echoed]
    lines.extend(f"{name}: {value}\r\n" for name, value in headers)
    if body:
        lines.append(f"Content-Type: {SDP_TYPE}\r\n")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "".join(lines).encode("utf-8", "surrogateescape") + body


def contact(user: str, flow: Flow) -> str:
    """Return our Contact for a peer that is reached over `flow` (§8.1.1.8)."""
    scheme = "sips" if flow.transport == "tls" else "sip"
    transport = ";transport=tcp" if flow.transport == "tcp" else ""
    host, port = flow.local
    return f"<{scheme}:{user}@{url_host(host)}:{port}{transport}>"


def _has_tag(request: Request) -> bool:
    try:
        return bool(request.to.tag)
    except SipSyntaxError:
        return True  # a To that cannot be read goes back as it came


def _top_via(via: Via, text: str, source: Flow) -> str:
    host, port = source.remote
    if "rport" in via.parameters:
        return via.format({"received": host, "rport": str(port)})
    if plain_host(via.host) != host:
        return via.format({"received": host})
    return text
