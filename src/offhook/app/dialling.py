"""The INVITEs of one outgoing leg: every address rings at once, and the first that answers gets the call."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from offhook.app.services import Services
from offhook.app.trunks import Target
from offhook.base.errors import OffhookError
from offhook.call import facts
from offhook.call.commands import Dial
from offhook.call.values import Header
from offhook.edge.egress import EgressRefused, EgressUnresolved
from offhook.proto import sip
from offhook.proto.sdp import NegotiatedMedia, SdpError, SessionDescription, read_answer

log = structlog.get_logger(__name__)

_ANONYMOUS = "sip:anonymous@anonymous.invalid"  # RFC 3323 4.1.1.3


@dataclass(slots=True)
class Branch:
    """One INVITE under way. `early` is what its provisional answers said of audio."""

    callee: str
    local_address: str
    offer: SessionDescription
    early: NegotiatedMedia | None = None


class Dialling:
    """Rings the targets of one plan until one answers, all have refused, or the leg gives up.

    Args:
        targets: where to; at least one.
        make_offer: writes our offer for an address of ours.
        tell: takes the facts that follow.
        on_call: told of each INVITE, so that its events find their way here.
        on_answer: told which INVITE became the call, before its `CalleeAnswered`.
    """

    def __init__(
        self,
        services: Services,
        targets: tuple[Target, ...],
        *,
        make_offer: Callable[[str], bytes],
        tell: Callable[[facts.Fact], None],
        on_call: Callable[[sip.CallHandle], None],
        on_answer: Callable[[sip.CallHandle, Branch], None],
    ) -> None:
        self._services = services
        self._targets = targets
        self._make_offer = make_offer
        self._tell = tell
        self._on_call = on_call
        self._on_answer = on_answer
        self._branches: dict[sip.CallHandle, Branch] = {}
        self._looking = len(targets)
        self._refusals: list[tuple[int | None, bool]] = []
        self._over = False

    def start(self, plan: Dial) -> None:
        """Find and ring every target. Looking for one never delays another."""
        for target in self._targets:
            self._services.tasks.start(self._ring(target, plan), name="dial")

    def give_up(self, headers: tuple[Header, ...] = (), reason: str | None = None) -> None:
        """Ring no longer: nothing is told from now on."""
        if self._over:
            return
        self._over = True
        pairs = tuple((header.name, header.value) for header in headers)
        if reason:
            pairs += (("Reason", f'SIP;cause=200;text="{reason}"'),)
        self._hang_up(self._branches, pairs)

    def on_event(self, event: sip.UserAgentEvent) -> None:
        """Take what the user agent reports of one of the INVITEs."""
        branch = self._branches.get(event.call)
        if branch is None:
            return
        match event:
            case sip.CallRinging():
                branch.early = self._read(branch, event.sdp) or branch.early
                self._report(facts.CalleeRinging(branch.early))
            case sip.CallAccepted():
                self._answered(event, branch)
            case sip.CallRejected():
                self._refused(event.call, event.status, event.by_peer)
            case sip.CallEnded():
                # The answer crossed our CANCEL, and the user agent has hung it up.
                self._refused(event.call, None, False)
            case _:
                pass

    async def _ring(self, target: Target, plan: Dial) -> None:
        status: int | None = None
        try:
            flow = await self._find(target)
            if not self._over:
                self._invite(target, plan, flow)
                status = 0
        except (EgressRefused, EgressUnresolved, OSError) as error:
            log.warning("a number or address cannot be reached", reason=type(error).__name__)
        except sip.SipSyntaxError as error:
            log.warning("an address cannot be called", reason=error.kind)
        except sip.CallStateError:
            log.warning("no more calls can be made now")
            status = 503
        finally:
            self._looking -= 1
        if status != 0:
            self._refusals.append((status, False))
            self._report_when_all_refused()

    async def _find(self, target: Target) -> sip.Flow:
        signalling = self._services.sip
        if target.trusted:
            return await signalling.flow_to(target.uri)
        uri = sip.SipUri.parse(target.uri)
        found = await self._services.egress.resolve(sip.plain_host(uri.host), uri.port or 5060)
        hosts = [host for host, _ in found]
        return signalling.flow_at(uri.parameters.get("transport", ""), hosts, uri.port or 5060)

    def _invite(self, target: Target, plan: Dial, flow: sip.Flow) -> None:
        offer = self._make_offer(flow.local[0])
        here = f"{sip.url_host(flow.local[0])}:{flow.local[1]}"
        own_uri = f"sip:{target.caller}@{target.domain or here}"
        headers = tuple((header.name, header.value) for header in plan.headers)
        if plan.hide_caller:
            headers += (("Privacy", "id"), ("P-Asserted-Identity", f"<{own_uri}>"))
        call = sip.OutgoingCall(
            uri=target.uri,
            from_uri=_ANONYMOUS if plan.hide_caller else own_uri,
            from_display="Anonymous" if plan.hide_caller else plan.caller_name,
            flow=flow,
            headers=headers,
            credentials=target.credentials,
        )
        handle = self._services.sip.invite(call, offer)
        self._branches[handle] = Branch(target.callee, flow.local[0], SessionDescription.parse(offer))
        self._on_call(handle)

    def _answered(self, event: sip.CallAccepted, branch: Branch) -> None:
        if self._over:
            return  # a CANCEL of ours is under way, and the user agent ends what it crosses
        self._over = True
        del self._branches[event.call]
        self._hang_up(self._branches, ())
        media = self._read(branch, event.sdp) or branch.early
        self._on_answer(event.call, branch)
        headers = tuple(Header(name, value) for name, value in event.headers)
        self._tell(facts.CalleeAnswered(branch.callee, media, headers))

    def _refused(self, call: sip.CallHandle, status: int | None, by_peer: bool) -> None:
        del self._branches[call]
        self._refusals.append((status, by_peer))
        self._report_when_all_refused()

    def _report_when_all_refused(self) -> None:
        if not self._branches and not self._looking:
            status, by_peer = min(self._refusals, key=_weight)
            self._report(facts.CalleeRefused(status, by_peer))
            self._over = True

    def _report(self, fact: facts.Fact) -> None:
        if not self._over:
            self._tell(fact)

    def _hang_up(self, calls: Iterable[sip.CallHandle], headers: sip.Headers) -> None:
        for call in tuple(calls):
            try:
                self._services.sip.hangup(call, headers=headers)
            except OffhookError as error:
                log.debug("a call that rang is over", reason=str(error))

    def _read(self, branch: Branch, sdp: bytes | None) -> NegotiatedMedia | None:
        if sdp is None:
            return None
        try:
            media = read_answer(branch.offer, SessionDescription.parse(sdp))
        except SdpError as error:
            log.warning("an answer cannot be used", reason=str(error))
            return None
        if media is not None and (":" in media.remote_rtp[0]) != (":" in branch.local_address):
            return None
        return media


def _weight(refusal: tuple[int | None, bool]) -> tuple[bool, bool, int]:
    """Say which refusal is told of several: a phone's word before our failure, 6xx before the rest (16.7)."""
    status, by_peer = refusal
    return not by_peer, (status or 0) < 600, status or 999
