"""The sections of the settings. This model is the documentation of every option."""

import ipaddress
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, field_validator

from offhook.app.settings.values import (
    HostPort,
    SipListen,
    host_port,
    items,
    port_range,
    sip_listen,
)
from offhook.base import limits
from offhook.base.log import LogFormat
from offhook.edge.dialogflow.protocol import BargeIn
from offhook.proto.sdp import CODECS, is_codec
from offhook.proto.sip import SipSyntaxError, SipUri


class Section(BaseModel):
    """A table of the file: unknown names are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HttpSettings(Section):
    """The API, its documentation, `/metrics` and `/healthz`."""

    listen: str = Field("127.0.0.1:8080", description="Address of the API.")
    api_keys: str = Field(
        "",
        description="Comma list of accepted bearer keys. Empty: one is made at the first start, "
        "printed once and kept in the data directory.",
    )
    public_url: str = Field(
        "",
        description="How apps reach the API, as in https://calls.example; the URLs of recordings begin with it. "
        "Empty: http and the address of listen.",
    )

    @property
    def address(self) -> HostPort:
        """Return `listen` in its parts."""
        return host_port(self.listen)

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        host_port(value)
        return value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        if value:
            url = AnyHttpUrl(value)
            if url.query or url.fragment or url.username:
                raise ValueError(f"{value!r} is more than scheme, host, port and path")
        return value.rstrip("/")


class SipSettings(Section):
    """Where phones and trunks reach us."""

    listen: str = Field(
        "udp:0.0.0.0:5060,tcp:0.0.0.0:5060", description="Comma list of transport:host:port (udp, tcp)."
    )
    public_address: str = Field(
        "",
        description="IP address written into SIP and SDP, for machines behind NAT. Empty: found by route.",
    )
    user_agent: str = Field("Offhook", description="Text of the Server and User-Agent headers.")
    codecs: str = Field(
        "PCMU,PCMA,G722,OPUS,AMR-WB,L16",
        description="Comma list of the codecs that calls may be in, best first: PCMU, PCMA, G722, OPUS, AMR-WB, "
        "and L16 or one rate of it, as in L16/16000.",
    )
    codec_order: Literal["offer", "ours"] = Field(
        "ours",
        description="Whose order decides when an answer names no preferred_codecs: the caller's or that of codecs.",
    )

    @property
    def listeners(self) -> tuple[SipListen, ...]:
        """Return `listen` in its parts."""
        return tuple(sip_listen(item) for item in items(self.listen))

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        listeners = items(value)
        for item in listeners:
            sip_listen(item)
        if not listeners:
            raise ValueError("at least one transport:host:port is needed")
        return value

    @property
    def codec_names(self) -> tuple[str, ...]:
        """Return `codecs` in its parts."""
        return tuple(item.upper() for item in items(self.codecs))

    @field_validator("codecs")
    @classmethod
    def _check_codecs(cls, value: str) -> str:
        names = items(value)
        unknown = [name for name in names if not is_codec(name)]
        if unknown or not names:
            raise ValueError(f"{unknown[0] if unknown else 'nothing'!r} is none of {', '.join(CODECS)}")
        return value

    @field_validator("public_address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        return str(ipaddress.ip_address(value)) if value else value


class MediaSettings(Section):
    """RTP."""

    rtp_ports: str = Field(
        "20000-20999", description="UDP port range for RTP: one port a leg with rtcp-mux, two without."
    )
    workers: int = Field(0, ge=0, le=64, description="Media worker threads. 0: one a core.")
    keepalive_s: float = Field(
        limits.MEDIA_KEEPALIVE_S,
        ge=0.1,
        le=60,
        description="A leg with nothing to send sends one packet of silence this often.",
    )
    timeout_s: float = Field(
        0, ge=0, le=3600, description="Hang up an answered call that sends no RTP for so long. 0: never."
    )
    send_silence_when_idle: bool = Field(
        False,
        description="Send a packet of silence each ptime while nothing is played, on calls whose answer "
        "does not say.",
    )
    inband_dtmf: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Tell keys by their tones. auto: on calls without telephone-event. on: on every call, until "
        "its first telephone-event.",
    )
    folder: str = Field(
        "",
        description="Folder of wav and mp3 files that playback_start and dial play by media_name. Empty: none.",
    )
    drain_s: float = Field(
        5,
        ge=0,
        le=60,
        description="How long the ports of an ended call must be quiet before they are used again.",
    )

    @property
    def port_range(self) -> tuple[int, int]:
        """Return (lowest, highest) port."""
        return port_range(self.rtp_ports)

    @field_validator("rtp_ports")
    @classmethod
    def _check_ports(cls, value: str) -> str:
        port_range(value)
        return value


class StreamSettings(Section):
    """WebSocket streams."""

    ca_file: str = Field(
        "", description="PEM file of certificate authorities to trust for wss:// beside the public ones."
    )
    tls_verify: bool = Field(True, description="Check the certificates of wss:// servers.")
    frame_ms: Literal[20, 40, 60, 80, 100] = Field(20, description="Audio in one media frame.")
    fill_gaps: Literal["silence", "jump"] = Field(
        "silence",
        description="Lost audio of up to a second: silence in its place, or a jump of the timestamp.",
    )
    buffer_ms: int = Field(
        limits.STREAM_BUFFER_MS,
        ge=100,
        le=limits.STREAM_BUFFER_MS_MAX,
        description="Audio of each track kept for an app that reads too slowly, 384 KiB at most; beyond it the "
        "oldest is dropped.",
    )
    connect_timeout_s: float = Field(
        limits.STREAM_CONNECT_TIMEOUT_S,
        ge=0.1,
        le=60,
        description="How long one try to connect may take, TLS included.",
    )
    connect_retry_s: tuple[Annotated[float, Field(ge=0, le=60)], ...] = Field(
        limits.STREAM_CONNECT_RETRY_S,
        max_length=limits.STREAM_CONNECT_RETRIES_MAX,
        description="Pauses before the further tries to connect; an empty list: one try.",
    )
    l16_byte_order: Literal["little", "big"] = Field(
        "little",
        description="Byte order of L16 on the WebSocket, both ways. Telnyx's is little; media_format tells big.",
    )
    binary_media: bool = Field(
        False,
        description="Binary messages of an app are audio, as the payload of its media frames is; otherwise they "
        "are answered by error 100003.",
    )
    ping_s: float = Field(
        limits.STREAM_PING_S,
        ge=0,
        le=3600,
        description="A WebSocket ping so often; without a pong by the next one the socket is lost. 0: never.",
    )


class RecordingSettings(Section):
    """Recordings of calls, in the data directory."""

    kept_s: float = Field(
        limits.RECORDINGS_KEPT_S, ge=0, description="How long files are kept after their end. 0: for ever."
    )
    bytes_max: int = Field(
        limits.RECORDINGS_BYTES_MAX,
        ge=0,
        description="What all files may take together; beyond it no recording begins. 0: any.",
    )
    free_bytes_min: int = Field(
        limits.RECORDINGS_FREE_BYTES_MIN,
        ge=0,
        description="What must be free on their disk for a recording to begin.",
    )


class WebhookSettings(Section):
    """The default application and how its webhooks are delivered."""

    url: AnyHttpUrl | None = Field(
        None,
        description="webhook_event_url of the default application, which takes every incoming call that no other "
        "application claims.",
    )
    failover_url: AnyHttpUrl | None = Field(None, description="Used when the first URL fails.")
    timeout_s: float = Field(2.0, gt=0, le=30, description="How long one attempt may take.")
    retry_fast_s: tuple[Annotated[float, Field(ge=0, le=600)], ...] = Field(
        (1.0, 2.0),
        max_length=limits.WEBHOOK_RETRY_WAITS_MAX,
        description="Waits between the first attempts at each URL; an empty list: one attempt.",
    )
    retry_slow_s: tuple[Annotated[float, Field(ge=1, le=86_400)], ...] = Field(
        (15.0, 60.0, 300.0, 900.0, 3600.0),
        max_length=limits.WEBHOOK_RETRY_WAITS_MAX,
        description="Waits before the rounds over all URLs that follow; the last repeats. An empty list: give up "
        "after the first attempts, as Telnyx does.",
    )
    give_up_after_s: float = Field(
        86_400.0, ge=1, le=30 * 86_400, description="No attempt begins later than this after the event."
    )
    attempts_at_once: int = Field(
        limits.WEBHOOK_ATTEMPTS_IN_FLIGHT_MAX, ge=1, le=10_000, description="Attempts under way, altogether."
    )
    attempts_at_once_per_receiver: int = Field(
        limits.WEBHOOK_ATTEMPTS_PER_ORIGIN_MAX,
        ge=1,
        le=10_000,
        description="The same to one receiver (scheme, host and port).",
    )
    attempts_per_s: float = Field(
        0.0,
        ge=0,
        le=100_000,
        description="Attempts a second to one receiver, after as many at once; further ones wait. 0: any number.",
    )
    delivered_kept_s: float = Field(
        3 * 86_400.0, ge=0, le=365 * 86_400, description="How long delivered events stay in the log."
    )
    failed_kept_s: float = Field(
        30 * 86_400.0,
        ge=0,
        le=365 * 86_400,
        description="How long events that were given up stay in the log.",
    )
    log_max: int = Field(
        limits.WEBHOOKS_ENDED_KEPT_MAX, ge=0, le=10_000_000, description="How many of both stay at most."
    )
    standard_webhooks_compat: bool = Field(
        False,
        description="Also send the three Standard-Webhooks headers, which SDK versions 4.88.1 to 4.177 insist on. "
        "Their key is public: they prove nothing.",
    )


class VoiceSettings(Section):
    """Texts that a voice says to calls (extra `voice`)."""

    default_voice: str = Field(
        "local", description='Who speaks for every voice not listed in "voices"; "reject" refuses them.'
    )
    voices: dict[str, str] = Field(
        default_factory=dict,
        description="Who speaks for the voices that apps name, or for all that begin with a name and a dot, "
        'for example { AWS = "local", "Azure.de-DE-KatjaNeural" = "reject" }.',
    )
    workers: int = Field(1, ge=1, le=64, description="Voice worker processes; each speaks up to 32 texts.")
    warm_up: bool = Field(
        False, description="Load the voice with the first call, so that the first text need not wait for it."
    )


class DialogflowSettings(Section):
    """Conversations with Google Dialogflow agents (extra `dialogflow`)."""

    language: str = Field(
        "en-US", description="BCP-47 code of what callers speak, where the command does not say."
    )
    barge_in: BargeIn = Field(
        "agent",
        description='Whether callers may interrupt a reply: "agent": when the agent says so, "always" or "never".',
    )
    welcome_event: str = Field(
        "", description='Event that the agent answers before the caller speaks, for example "WELCOME".'
    )
    endpoint: str = Field(
        "", description="https://host:port to use instead of Google's endpoint of the agent's location."
    )
    ca_file: str = Field(
        "", description="PEM file of certificate authorities to trust instead of the public ones."
    )

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("it must begin with https:// or http://")
        return value


class EgressSettings(Section):
    """Which addresses an API caller may make this server talk to."""

    allow_private: bool | Literal["auto"] = Field(
        "auto",
        description="May webhooks, streams and forks reach private addresses. "
        "auto: yes while the API listens on loopback.",
    )
    allowed_networks: tuple[str, ...] = Field(
        (), description='Networks that are always allowed, for example ["10.1.0.0/16"].'
    )
    denied_networks: tuple[str, ...] = Field(
        (), description="Networks that are never allowed; they win over all else."
    )


class LimitSettings(Section):
    """Bounds that a machine's size decides."""

    legs: int = Field(limits.LEGS_MAX, ge=1, le=100_000, description="Calls at once; further ones get 503.")
    requests: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="API requests of one key in each requests_window_s; further ones get 429. 0: any number.",
    )
    requests_window_s: int = Field(60, ge=1, le=60, description="What requests is counted in.")
    forks_per_s: float = Field(
        limits.FORKS_PER_HOST_PER_S,
        ge=0,
        le=100_000,
        description="Forks that may be aimed at one host in a second; further ones get 503. 0: any number.",
    )


class CompatSettings(Section):
    """Switches back to Telnyx's literal behaviour where ours is kinder."""

    strict_transcription_stop: bool = Field(
        False,
        description="transcription_stop with nothing running is refused with 10027 instead of accepted.",
    )
    ignore_unsupported: bool = Field(
        False,
        description="Features of an answer that are not done here (assistant, ...), and what a speech engine "
        "cannot do of its configuration, are ignored with a warning in the log instead of refused with 10038.",
    )
    single_stream: bool = Field(
        False,
        description="A call has room for one stream or fork: the next streaming_start or fork_start ends "
        "whatever runs.",
    )
    only_telnyx_events: bool = Field(
        False,
        description="Nothing is told by an event that Telnyx does not have: no call.transcription.failed.",
    )
    strict_target_legs: bool = Field(
        False,
        description="An app that speaks to the opposite leg (the default) of a call that is not bridged is heard "
        "by nobody.",
    )


class RouteSettings(Section):
    """Which application takes which incoming calls; repeat the block, the first that fits decides."""

    application: str = Field(min_length=1, max_length=255, description="Its id or its name.")
    called: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = Field(
        (),
        max_length=limits.ROUTE_PATTERNS_MAX,
        description="Numbers or SIP users called; a * at the end stands for any rest. Empty: all.",
    )
    sources: tuple[str, ...] = Field(
        (),
        max_length=limits.ROUTE_PATTERNS_MAX,
        description="Names of [[trunks]] that the calls come from, or addresses or networks. Empty: all.",
    )

    @field_validator("called")
    @classmethod
    def _check_called(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "+*" in value:
            raise ValueError(
                '"+*" would fit every call, for a plus is passed over; write "*" if that is meant'
            )
        return value


class LogSettings(Section):
    """Logs, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level shown.")
    format: LogFormat = Field("auto", description='"text", "json", or auto: text on a terminal.')


class TrunkSettings(Section):
    """A SIP trunk or PBX that calls to numbers go through; repeat the block for each."""

    name: str = Field(min_length=1, max_length=64, description="A name for people and logs.")
    address: str = Field(description="Where it is: host or host:port.")
    transport: Literal["udp", "tcp"] = Field("udp", description="How it is reached: udp or tcp.")
    numbers: tuple[str, ...] = Field(
        ("+",),
        description="Beginnings of the numbers that it takes; of all trunks the one with the longest gets the call.",
    )
    username: str = Field("", description="User name when the trunk asks for one (401, 407).")
    password: str = Field("", repr=False, description="Its password.")
    password_env: str = Field("", description="Environment variable that holds the password instead.")
    password_file: str = Field("", description="File that holds the password instead.")
    caller: str = Field("", description="Number shown as the caller, whatever the app says.")
    domain: str = Field("", description="Domain of the caller's SIP URI. Empty: the trunk's host.")

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        try:
            if value != value.strip() or SipUri.parse(f"sip:{value}").parameters:
                raise ValueError
        except (SipSyntaxError, ValueError):
            raise ValueError(f"{value!r} is not host or host:port") from None
        return value

    @field_validator("domain", "caller")
    @classmethod
    def _check_uri_part(cls, value: str) -> str:
        if not all(c.isascii() and (c.isalnum() or c in "+-._[]:*#") for c in value):
            raise ValueError(f"{value!r} cannot stand in a SIP URI")
        return value
