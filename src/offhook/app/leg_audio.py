"""What one leg says about audio in SDP, and the media leg that it is true of."""

from collections.abc import Mapping

import structlog

from offhook.app.services import Services
from offhook.edge.media.agreed import connect_agreed
from offhook.proto.sdp import (
    NegotiatedMedia,
    SdpError,
    SessionDescription,
    make_answer,
    make_offer,
    read_answer,
)

log = structlog.get_logger(__name__)


class LegAudio:
    """The media leg of a call, from its ports to its end, and the offers and answers about it.

    Args:
        media_leg_id: what the core shall call it.
        offer: what the far end offered, if it called with an offer.
        local_address: our address towards the far end.
    """

    def __init__(
        self, services: Services, media_leg_id: int, *, offer: SessionDescription | None, local_address: str
    ) -> None:
        self.media_leg_id = media_leg_id
        self.local_address = local_address
        self.local_offer: SessionDescription | None = None
        """Our last offer, which the next answer is about."""
        self.is_open = False
        self._services = services
        self._far_offer = offer
        self._codecs = services.codecs.offered()
        self._silence_when_idle = False
        self._ports = (0, 0)
        self._version = 0

    def open(self, *, rtcp_mux: bool, codecs: tuple[str, ...], silence_when_idle: bool) -> None:
        """Bind its ports; `codecs` is what we offer from now on.

        Raises:
            MediaError: there are none left.
        """
        self._ports = self._services.media.open_leg(self.media_leg_id, rtcp_mux=rtcp_mux)
        self.is_open = True
        self._codecs = codecs
        self._silence_when_idle = silence_when_idle

    def connect(self, agreed: NegotiatedMedia) -> None:
        """Send and receive as offer and answer say. Nothing happens when it is not open.

        Raises:
            MediaError: the core cannot do it.
        """
        if not self.is_open:
            return
        settings = self._services.settings.media
        connect_agreed(
            self._services.media,
            self.media_leg_id,
            agreed,
            silence_when_idle=self._silence_when_idle,
            keepalive_s=settings.keepalive_s,
            timeout_s=settings.timeout_s,
            inband_dtmf=settings.inband_dtmf,
        )

    def close(self) -> None:
        """Ask the core to end it; `closed` follows its last event."""
        self._services.media.close_leg(self.media_leg_id)

    def closed(self, summary: Mapping[str, int]) -> None:
        """Take note that the core has ended it."""
        self.is_open = False
        log.info("media closed", media_leg=self.media_leg_id, **summary)

    def offer(self, wanted: NegotiatedMedia | None = None, *, receiving: bool = True) -> bytes:
        """Write an offer: of what is in use, or else of our codecs; not `receiving` is hold."""
        rtp_port, rtcp_port = self._ports
        self._version += 1
        sdp = make_offer(
            wanted or self._codecs,
            address=self.local_address,
            rtp_port=rtp_port,
            rtcp_port=rtcp_port,
            session_id=self.media_leg_id,
            version=self._version,
            receiving=receiving,
            beside=self._far_offer,
        )
        self.local_offer = SessionDescription.parse(sdp)
        return sdp

    def offer_from(self, address: str) -> bytes:
        """Write the offer of an INVITE that leaves from this address of ours."""
        self.local_address = address
        return self.offer()

    def answer(self, agreed: NegotiatedMedia, offer: SessionDescription | None = None) -> bytes:
        """Write the answer to the far end's last offer, or to a new one."""
        self._far_offer = offer or self._far_offer
        assert self._far_offer is not None, "there is an offer where something was agreed on"
        rtp_port, rtcp_port = self._ports
        self._version += 1
        return make_answer(
            self._far_offer,
            agreed,
            address=self.local_address,
            rtp_port=rtp_port,
            rtcp_port=rtcp_port,
            session_id=self.media_leg_id,
            version=self._version,
        )

    def read_answer(self, sdp: bytes | None) -> NegotiatedMedia | None:
        """Return what the far end made of our last offer; None when that is nothing of use."""
        if sdp is None or self.local_offer is None:
            return None
        try:
            return read_answer(self.local_offer, SessionDescription.parse(sdp))
        except SdpError as error:
            log.warning("an answer cannot be used", reason=str(error))
            return None

    def renegotiate(
        self, offer: SessionDescription, current: NegotiatedMedia | None
    ) -> NegotiatedMedia | None:
        """Return what an offer leaves: the codec in use where it still can be (RFC 3264 §8.3.2)."""
        if not self.is_open:
            return None
        agreed = self._services.codecs.keep(offer, current)
        return agreed if agreed is not None and reachable(agreed, self.local_address) else None


def reachable(media: NegotiatedMedia, local_address: str) -> bool:
    """Tell whether RTP from `local_address` can get to the far end: both IPv4, or both IPv6."""
    return (":" in media.remote_rtp[0]) == (":" in local_address)
