"""Dialogs: what both ends must remember to speak inside a call (RFC 3261 §12)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from offhook.proto.sip.events import Flow
from offhook.proto.sip.message import Header, Request, Response
from offhook.proto.sip.reply import SDP_TYPE, contact, is_address, plain_host, reach, url_host
from offhook.proto.sip.values import Address, SipSyntaxError, SipUri


@dataclass(slots=True)
class Dialog:
    """One dialog from our side. `local` and `remote` are whole From/To values, tags included."""

    call_id: str
    local: str
    remote: str
    local_tag: str
    remote_tag: str
    remote_target: str
    routes: tuple[str, ...]
    local_cseq: int
    remote_cseq: int | None
    flow: Flow

    @classmethod
    def accepted(cls, invite: Request, flow: Flow, local_tag: str) -> "Dialog":
        """Return the dialog that an INVITE makes at the side that answers (§12.1.1)."""
        return cls(
            call_id=invite.call_id,
            local=f"{invite.get('to')};tag={local_tag}",
            remote=invite.get("from") or "",
            local_tag=local_tag,
            remote_tag=invite.sender.tag,
            remote_target=invite.contact or invite.sender.uri,
            routes=tuple(invite.get_values("record-route")),
            local_cseq=0,
            remote_cseq=invite.cseq.number,
            flow=flow,
        )

    @classmethod
    def established(cls, invite: Request, response: Response, flow: Flow) -> "Dialog":
        """Return the dialog that a tagged response makes at the side that asked (§12.1.2)."""
        return cls(
            call_id=invite.call_id,
            local=invite.get("from") or "",
            remote=response.get("to") or "",
            local_tag=invite.sender.tag,
            remote_tag=response.to.tag,
            remote_target=response.contact or invite.uri,
            routes=tuple(reversed(response.get_values("record-route"))),
            local_cseq=invite.cseq.number,
            remote_cseq=None,
            flow=flow,
        )

    def takes(self, request: Request) -> bool:
        """Say whether a request's numbers are in order (§12.2.2), and remember the new number."""
        number = request.cseq.number
        if self.remote_cseq is not None and number < self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def refresh_target(self, message: Request | Response) -> None:
        """Take the Contact of a target refresh (§12.2)."""
        if message.contact:
            self.remote_target = message.contact

    def next_hop(self) -> Flow:
        """Return where requests inside the dialog go.

        The first route or the remote target where it names a numeric address that can be reached;
        where the peer came from when it is a name, or an address of the far side of a NAT.
        An open stream connection is used again (RFC 5923 in spirit).
        """
        flow = self.flow
        if flow.connection:
            return flow
        target = self._first_route() or self.remote_target
        try:
            uri = SipUri.parse(target)
        except SipSyntaxError:
            return flow
        host = plain_host(uri.host)
        if not is_address(host) or reach(host) < reach(flow.remote[0]):
            return flow
        return replace(flow, remote=(host, uri.port or 5060))

    def request(
        self,
        method: str,
        *,
        branch: str,
        user_agent: str,
        cseq: int | None = None,
        headers: Iterable[Header] = (),
        contact_user: str | None = None,
        content_type: str | None = None,
        body: bytes = b"",
    ) -> Request:
        """Build a request inside the dialog (§12.2.1.1). Without `cseq` it takes the next number.

        A body without a `content_type` is a session description.
        """
        if cseq is None:
            self.local_cseq += 1
            cseq = self.local_cseq
        uri, routes = self._uri_and_routes()
        fields: list[Header] = [
            ("Via", via_value(self.flow, branch)),
            ("Max-Forwards", "70"),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq} {method}"),
        ]
        fields.extend(("Route", route) for route in routes)
        if contact_user is not None:
            fields.append(("Contact", contact(contact_user, self.flow)))
        fields.append(("User-Agent", user_agent))
        fields.extend(headers)
        if body or content_type is not None:
            fields.append(("Content-Type", content_type or SDP_TYPE))
        return Request(method, uri, fields, body)

    @property
    def request_uri(self) -> str:
        """The Request-URI of what is sent inside the dialog."""
        return self._uri_and_routes()[0]

    def _first_route(self) -> str | None:
        if not self.routes:
            return None
        try:
            return Address.parse(self.routes[0]).uri
        except SipSyntaxError:
            return None

    def _uri_and_routes(self) -> tuple[str, tuple[str, ...]]:
        first = self._first_route()
        if first is None:
            return self.remote_target, ()
        if ";lr" in first.lower():
            return self.remote_target, self.routes
        # A strict router (RFC 2543) wants itself in the Request-URI and the target as last route.
        return first, (*self.routes[1:], f"<{self.remote_target}>")


def via_value(flow: Flow, branch: str) -> str:
    """Return our Via for a request over `flow`."""
    host, port = flow.local
    rport = "" if flow.reliable else ";rport"
    return f"SIP/2.0/{flow.transport.upper()} {url_host(host)}:{port};branch={branch}{rport}"
