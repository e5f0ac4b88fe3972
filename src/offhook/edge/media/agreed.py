"""From what offer and answer agreed on to what a media leg is told."""

from offhook.base.limits import MEDIA_KEEPALIVE_S
from offhook.edge.media.engine import MediaEngine
from offhook.proto.sdp import NegotiatedMedia


def connect_agreed(
    engine: MediaEngine,
    leg_id: int,
    agreed: NegotiatedMedia,
    *,
    silence_when_idle: bool,
    keepalive_s: float = MEDIA_KEEPALIVE_S,
    timeout_s: float = 0.0,
    inband_dtmf: str = "auto",
) -> None:
    """Connect an open leg as agreed; again after a re-INVITE.

    Args:
        silence_when_idle: keep sending while there is nothing to say.
        keepalive_s: how often a leg that sends nothing else sends one packet of silence.
        timeout_s: report a silent far end after so long; 0 is never.
        inband_dtmf: whether keys are told by their tones, as in `MediaEngine.connect_leg`.

    Raises:
        MediaError: no such leg, or the engine cannot do this.
    """
    engine.connect_leg(
        leg_id,
        codec=agreed.codec_name,
        payload_type=agreed.payload_type,
        clock_rate_hz=agreed.clock_rate_hz,
        sample_rate_hz=agreed.sample_rate_hz,
        octet_align=agreed.parameters.octet_align,
        amr_mode_set=agreed.parameters.mode_set,
        opus_fec=agreed.parameters.in_band_fec,
        opus_max_bitrate=agreed.parameters.max_bitrate,
        ptime_ms=agreed.ptime_ms,
        dtmf_payload_type=agreed.dtmf_payload_type,
        dtmf_clock_rate_hz=agreed.dtmf_clock_rate_hz or agreed.clock_rate_hz,
        remote_rtp=join_address(*agreed.remote_rtp),
        remote_rtcp=join_address(*agreed.remote_rtcp),
        rtcp_mux=agreed.rtcp_mux,
        sending=agreed.sending,
        receiving=agreed.receiving,
        silence_when_idle=silence_when_idle,
        keepalive_ms=round(keepalive_s * 1000),
        media_timeout_ms=round(timeout_s * 1000),
        inband_dtmf=inband_dtmf,
    )


def join_address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
