"""What an app asks of a leg. Parsed and validated by `edge.http` before it gets here."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from offhook.base import limits
from offhook.call.values import (
    Header,
    LegState,
    TargetLegs,
    Track,
    UdpTarget,
    WebhookMethod,
    WebhookWishes,
)
from offhook.proto.ssml import Script


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What every command may carry (contract 1.4).

    `client_state` is base64 text, echoed in every later webhook of the leg; None leaves it alone.
    `command_id` makes a repetition within 60 s of the same action harmless.
    """

    command_id: str | None = None
    client_state: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCallback:
    """Where a TeXML stream tells of itself beside the webhooks (contract 6), and by which names."""

    url: str
    method: WebhookMethod = "POST"
    account_sid: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """A stream as asked for (contract 2.1).

    `codec` is what the app is sent, None for the leg's own (but see `app_codec`). `app_codec` is
    what the far end hears when the app sends it, None when the app only listens. `sample_rate_hz`
    is the rate asked for of a codec that has several, in both directions; None for the usual one.
    `target_legs` says who hears the app. `reconnect`: whether a lost socket is opened again.
    """

    url: str
    tracks: tuple[Track, ...] = (Track.RX,)
    codec: str | None = None
    app_codec: str | None = None
    sample_rate_hz: int | None = None
    target_legs: TargetLegs = TargetLegs.OPPOSITE
    auth_token: str | None = None
    custom_parameters: tuple[tuple[str, str], ...] = ()
    reconnect: bool = True
    callback: StreamCallback | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogflowOptions:
    """A conversation with the Dialogflow agent of the call's application (contract 2.1).

    `language` is a BCP-47 code, None for the server's usual one. `partial_replies` lets the agent
    answer in parts.
    """

    tracks: tuple[Track, ...] = (Track.RX,)
    language: str | None = None
    analyze_sentiment: bool = False
    partial_replies: bool = False

    @property
    def track(self) -> Track:
        """Return whom the agent hears: of both, the far end of the call."""
        return Track.RX if Track.RX in self.tracks else Track.TX


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionOptions:
    """Transcription as asked for (contract 2.1, 2.2).

    `engine` is the name the app used ("Google", "A", ...); `options` are the fields of its
    configuration that are not common to all engines.
    """

    engine: str = "Google"
    tracks: tuple[Track, ...] = (Track.RX,)
    language: str | None = None
    interim_results: bool = False
    model: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


class RecordingFormat(StrEnum):
    """What file becomes of a recording."""

    WAV = "wav"
    MP3 = "mp3"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingOptions:
    """A recording as asked for (contract 2.3, 2.4).

    With `dual` the far end is on the first channel and what it hears on the second; else they are added
    up. It ends by itself after `max_s`, and when nothing was heard for `silence_timeout_s` after
    something was; 0 is never. `file_name` is how a downloaded file begins, None for the leg's id.
    """

    format: RecordingFormat
    dual: bool
    tracks: tuple[Track, ...] = (Track.RX, Track.TX)
    max_s: int = 0
    silence_timeout_s: int = 0
    trim_silence: bool = False
    beep: bool = False
    file_name: str | None = None


class AfterBridge(StrEnum):
    """What becomes of a leg whose bridge ends because the other leg has gone."""

    END = "end"
    PARK = "park"
    """It stays up, and waits for commands."""
    HOLD = "hold"
    """The same, and its far end is put on hold."""


class MuteDtmf(StrEnum):
    """Whose keys do not go to the other leg of a bridge."""

    NONE = "none"
    BOTH = "both"
    SELF = "self"
    """Those of the leg that the command is about."""
    OPPOSITE = "opposite"

    def seen_from_opposite(self) -> "MuteDtmf":
        """Return the same in the words of the other leg."""
        match self:
            case MuteDtmf.SELF:
                return MuteDtmf.OPPOSITE
            case MuteDtmf.OPPOSITE:
                return MuteDtmf.SELF
            case _:
                return self


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """A bridge as asked for: to which call (a call_control_id), and what is to hold in it.

    `after` is what becomes of the asking leg behind the bridge. With `transfers` the leg is there for
    that call only: it ends when there is none to be bridged to, and `early_media` lets that call hear it
    before it is answered.
    """

    other: str
    after: AfterBridge = AfterBridge.END
    mute_dtmf: MuteDtmf = MuteDtmf.NONE
    prevent_double: bool = False
    transfers: bool = False
    early_media: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackOptions:
    """A sound to be played: a file at `url`, one of this server's by `name`, or the file itself in `content`.

    `loop` is how often it is heard, None for ever. An `overlay` is mixed over what is played.
    """

    url: str | None = None
    name: str | None = None
    content: bytes | None = field(default=None, repr=False)
    loop: int | None = 1
    overlay: bool = False
    target_legs: TargetLegs = TargetLegs.SELF
    cache: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakOptions:
    """What a voice, named as apps name it, is to say; `loop` is None for ever."""

    script: Script
    voice: str
    language: str = "en-US"
    loop: int | None = 1
    target_legs: TargetLegs = TargetLegs.SELF

    @property
    def overlay(self) -> bool:
        """Texts wait among the sounds and are never mixed over them."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Command):
    """Take an incoming call; streams and transcription may start with it, and a bridge."""

    preferred_codecs: tuple[str, ...] = ()
    headers: tuple[Header, ...] = ()
    silence_when_idle: bool = False
    webhooks: WebhookWishes = field(default_factory=WebhookWishes)
    stream: StreamOptions | None = None
    dialogflow: DialogflowOptions | None = None
    transcription: TranscriptionOptions | None = None
    recording: RecordingOptions | None = None
    bridge: BridgeOptions | None = None


class RejectCause(StrEnum):
    """Reasons an app may give for refusing a call (contract 2.4)."""

    CALL_REJECTED = "CALL_REJECTED"
    USER_BUSY = "USER_BUSY"
    NOT_FOUND = "NOT_FOUND"
    TEMPORARILY_UNAVAILABLE = "TEMPORARILY_UNAVAILABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject(Command):
    """Refuse an incoming call that is not answered."""

    cause: RejectCause


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangup(Command):
    """End the call, whatever its state. `reason` is told to a phone that still rings."""

    headers: tuple[Header, ...] = ()
    reason: str | None = None


class Transport(StrEnum):
    """How a far end is reached when its URI does not say."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial(Command):
    """Call somebody (contract 2.3). It makes a new leg, so it is not a command of one.

    `to` are numbers and SIP URIs that ring at once; the first that answers gets the call.
    `digits` are keys to press after the answer, `playback` is what the called hears then.
    `link_to` is the call whose session it joins, and with `caller_of_link` whose caller it shows; `bridge`
    is what it is bridged to when it is answered, and `after_bridge` what becomes of it behind any bridge.
    With `stream_first` the socket of `stream` is opened before anybody is rung.
    """

    connection_id: str
    to: tuple[str, ...]
    caller: str
    caller_name: str = ""
    timeout_s: float = limits.DIAL_TIMEOUT_S
    retry_on_timeout: bool = True
    time_limit_s: float = limits.CALL_TIME_LIMIT_S
    link_to: str | None = None
    caller_of_link: bool = False
    bridge: BridgeOptions | None = None
    after_bridge: AfterBridge = AfterBridge.END
    transport: Transport | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    hide_caller: bool = False
    digits: str = ""
    playback: PlaybackOptions | None = None
    preferred_codecs: tuple[str, ...] = ()
    headers: tuple[Header, ...] = ()
    silence_when_idle: bool = False
    webhooks: WebhookWishes = field(default_factory=WebhookWishes)
    stream: StreamOptions | None = None
    stream_first: bool = False
    dialogflow: DialogflowOptions | None = None
    transcription: TranscriptionOptions | None = None
    recording: RecordingOptions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherLeg:
    """What the asker of a bridge was told of the call to be bridged to, when the command came."""

    state: LegState
    bridged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge(Command):
    """Let the far ends of two calls hear each other. A call that is not answered is answered for it.

    `found` is None where there is no such call.
    """

    bridge: BridgeOptions
    recording: RecordingOptions | None = None
    found: OtherLeg | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Command):
    """Call somebody, and bridge the leg to him when he answers (contract 2.4).

    `plan` is the call to be made; whoever knows both legs completes it. Its `caller` is empty for the
    number that the leg itself was called at.
    """

    plan: Dial
    after: AfterBridge = AfterBridge.END


class ForkType(StrEnum):
    """Whether SRTP is removed before the copy (contract 5.1)."""

    RAW = "raw"
    DECRYPTED = "decrypted"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFork(Command):
    """Copy the leg's RTP to UDP: either `rx` and `tx`, or `target` with STREP headers."""

    rx: UdpTarget | None = None
    tx: UdpTarget | None = None
    target: UdpTarget | None = None
    fork_type: ForkType = ForkType.DECRYPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFork(Command):
    """Stop the forks of one type, or all when `fork_type` is None."""

    fork_type: ForkType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartStream(Command):
    """Stream the leg's audio over a WebSocket, or to a Dialogflow agent, or both; at least one is set."""

    stream: StreamOptions | None = None
    dialogflow: DialogflowOptions | None = None

    @property
    def count(self) -> int:
        """Return how many streams it opens."""
        return (self.stream is not None) + (self.dialogflow is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopStream(Command):
    """Stop one stream, or all when `stream_id` is None."""

    stream_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTranscription(Command):
    """Transcribe the leg's speech live."""

    transcription: TranscriptionOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTranscription(Command):
    """Stop transcribing; the last final is still told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateClientState(Command):
    """Set `client_state` and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendDigits(Command):
    """Press keys: `0-9A-D*#`, with `w` for a pause of half a second and `W` for one of a second."""

    digits: str
    duration_ms: int = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class SendInfo(Command):
    """Send a SIP INFO to the far end."""

    content_type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refer(Command):
    """Ask the far end to call `target`, a SIP URI, instead of us; the call goes on until somebody ends it."""

    target: str
    headers: tuple[Header, ...] = ()
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather(Command):
    """Wait for keys (contract 2.4); what is gathered already ends as cancelled.

    `terminating_digit` ends the entry, and is empty for none. `initial_timeout_s` is for the first key,
    `inter_digit_timeout_s` for each one after it, `timeout_s` for all of them.

    With a `prompt` the caller is asked first, up to `tries` times while the entry is not valid, and hears
    `invalid_prompt` before the next time when keys were pressed; `initial_timeout_s` begins when all is said.
    """

    gather_id: str | None = None
    minimum_digits: int = 1
    maximum_digits: int = limits.GATHER_DIGITS_MAX
    terminating_digit: str = "#"
    valid_digits: str = "0123456789#*"
    timeout_s: float = 60.0
    inter_digit_timeout_s: float = 5.0
    initial_timeout_s: float = 5.0
    prompt: PlaybackOptions | SpeakOptions | None = None
    invalid_prompt: PlaybackOptions | SpeakOptions | None = None
    tries: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StopGather(Command):
    """Wait for no more keys."""


class StopWhich(StrEnum):
    """Which playbacks to stop: what is heard now, or also all that wait."""

    CURRENT = "current"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPlayback(Command):
    """Play a sound after those that wait; `stop` ends others first."""

    playback: PlaybackOptions
    stop: StopWhich | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speak(Command):
    """Say a text after the sounds and texts that wait; `stop` ends others first."""

    speak: SpeakOptions
    stop: StopWhich | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPlayback(Command):
    """Stop playing and speaking, or with `overlay` what is mixed over it; with `CURRENT` the next that waits begins."""

    stop: StopWhich = StopWhich.ALL
    overlay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecording(Command):
    """Record the leg's audio to a file."""

    recording: RecordingOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRecording(Command):
    """End one recording, or all when `recording_id` is None."""

    recording_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRecording(Command):
    """Leave out of one recording, or of all, what is heard from now on."""

    recording_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRecording(Command):
    """Go on with one recording, or with all."""

    recording_id: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The `data` of a 200 answer. `duplicate` marks a replay of the first answer to a `command_id`."""

    data: dict[str, Any]
    duplicate: bool = False
