"""What must be done for a leg, in the order decided. The leg runner in `app` carries it out.

Each `Open*` is answered by facts until its `*Closed` or `*Failed`; each `Close*` by exactly one.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from offhook.call.commands import (
    BridgeOptions,
    Dial,
    DialogflowOptions,
    ForkType,
    PlaybackOptions,
    RecordingOptions,
    SpeakOptions,
    TranscriptionOptions,
)
from offhook.call.values import Header, LegIdentity, Track, UdpTarget, WebhookRoute
from offhook.proto.sdp import NegotiatedMedia

AppHeard = Literal["self", "opposite", "opposite_only", "both"]
"""Who hears an app: "opposite" is the far end of the leg bridged to the stream's, and while there is none
the stream's own; with "opposite_only" nobody hears it then."""


@dataclass(frozen=True, slots=True)
class OpenMedia:
    """Bind ports and, when `media` is known, start RTP with the far end.

    `media` is None where we make the offer: in the 200 OK to an INVITE without one, or in an
    INVITE of ours; `ConnectMedia` follows the answer to it. Answered by nothing on success, by `MediaFailed` otherwise.
    """

    media: NegotiatedMedia | None
    codecs: tuple[str, ...]
    """What to offer when we do, best first."""
    silence_when_idle: bool


@dataclass(frozen=True, slots=True)
class ConnectMedia:
    """Tell the open media leg what the ACK's answer agreed on."""

    media: NegotiatedMedia


@dataclass(frozen=True, slots=True)
class CloseMedia:
    """Close the media leg; answered by `MediaClosed`, even when opening it had failed."""


@dataclass(frozen=True, slots=True)
class PlaceCall:
    """Ring the far end, with an offer of `OpenMedia`'s codecs.

    Answered by any number of `CalleeRinging`, then one of `CalleeAnswered` and `CalleeRefused`.
    `EndCall` before that gives up. To be skipped when `OpenMedia` failed.
    """

    plan: Dial


@dataclass(frozen=True, slots=True)
class AcceptCall:
    """Send 200 OK with our SDP; `media` as in `OpenMedia`. To be skipped when `OpenMedia` failed."""

    media: NegotiatedMedia | None
    headers: tuple[Header, ...]


@dataclass(frozen=True, slots=True)
class RejectCall:
    """Send a final failure to the INVITE, or BYE when our 200 OK has gone already.

    Harmless when the dialog is gone.
    """

    status: int
    reason: str | None = None
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class EndCall:
    """Send BYE (or whatever ends the dialog at this moment). Harmless when the dialog is gone.

    `reason` is the text of the Reason header of a CANCEL (RFC 3326).
    """

    headers: tuple[Header, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Connect a WebSocket.

    `start` and `stop` are the values of the `start` and `stop` keys of those frames; the reason is
    added to `stop` when it is known. `codec` and `sample_rate_hz` are what `start.media_format` says.
    With `app_codec` what the app sends is heard by whom `app_heard` says; with `reconnect` a lost socket
    is opened again.
    """

    stream_id: str
    url: str
    tracks: tuple[Track, ...]
    codec: str
    sample_rate_hz: int
    app_codec: str | None
    app_sample_rate_hz: int
    auth_token: str | None
    start: dict[str, Any]
    stop: dict[str, Any]
    reconnect: bool = True
    app_heard: AppHeard = "self"


@dataclass(frozen=True, slots=True)
class OpenDialogflow:
    """Let a Dialogflow agent hear one track and speak; answered by the facts of a stream.

    `sample_rate_hz` is that of the audio in both directions.
    """

    stream_id: str
    identity: LegIdentity
    options: DialogflowOptions
    sample_rate_hz: int

    @property
    def tracks(self) -> tuple[Track, ...]:
        """Return the tracks asked for."""
        return self.options.tracks


@dataclass(frozen=True, slots=True)
class BeginStream:
    """Let the start frame and the media go out: `streaming.started` has been told."""

    stream_id: str


@dataclass(frozen=True, slots=True)
class CloseStream:
    """End a stream; `reason` goes into its stop frame, and `hangup_cause` when the call has ended."""

    stream_id: str
    reason: str
    hangup_cause: str | None = None


@dataclass(frozen=True, slots=True)
class OpenFork:
    """Copy RTP to UDP targets; answered by `ForkOpened` or `ForkClosed`."""

    fork_id: str
    rx: UdpTarget | None
    tx: UdpTarget | None
    target: UdpTarget | None
    fork_type: ForkType


@dataclass(frozen=True, slots=True)
class CloseFork:
    """Stop copying; answered by `ForkClosed`."""

    fork_id: str


@dataclass(frozen=True, slots=True)
class OpenTranscription:
    """Start one recogniser a track; `sample_rate_hz` is that of the call's audio."""

    transcription_id: str
    options: TranscriptionOptions
    sample_rate_hz: int


@dataclass(frozen=True, slots=True)
class CloseTranscription:
    """Let the recognisers tell their last finals, then `TranscriptionClosed`."""

    transcription_id: str


@dataclass(frozen=True, slots=True)
class JoinLegs:
    """Let this leg and another one hear each other; answered by `Bridged` on both, or by nothing.

    A leg with `transfers` ends when there is nothing to join.
    """

    bridge: BridgeOptions


@dataclass(frozen=True, slots=True)
class HearEarly:
    """Let another leg hear this one, which still rings. `JoinLegs` follows an answer."""

    bridge: BridgeOptions


@dataclass(frozen=True, slots=True)
class PartLegs:
    """End the bridge, for the other leg by `Unbridged`, and the calls that were made for this leg only."""


@dataclass(frozen=True, slots=True)
class HoldCall:
    """Tell the far end by a re-INVITE that it is on hold, or no more."""

    hold: bool


@dataclass(frozen=True, slots=True)
class SendDigits:
    """Press keys and pause, after those that still wait; by telephone-event, or `in_band` by their tones.

    Answered by nothing.
    """

    digits: str
    duration_ms: int
    in_band: bool


@dataclass(frozen=True, slots=True)
class SendInfo:
    """Send an INFO after those that wait; answered by `InfoAnswered`."""

    content_type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReferCall:
    """Send REFER; answered by `ReferAnswered`, and when that is a 2xx by `ReferNotified`."""

    target: str
    headers: tuple[Header, ...] = ()
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ForgetReferral:
    """Hear no more of the referral that is under way."""


@dataclass(frozen=True, slots=True)
class OpenPlayback:
    """Get a sound and play it after those of its queue that are open; overlays are a queue of their own.

    Answered by `PlaybackStarted` once it is heard, and by `PlaybackEnded`.
    """

    playback_id: str
    options: PlaybackOptions


@dataclass(frozen=True, slots=True)
class OpenSpeak:
    """Let a voice say a text; answered as `OpenPlayback` is, and closed by `ClosePlayback`."""

    playback_id: str
    options: SpeakOptions


@dataclass(frozen=True, slots=True)
class ClosePlayback:
    """Stop a playback at once, with what of it is queued; answered by its `PlaybackEnded`."""

    playback_id: str


@dataclass(frozen=True, slots=True)
class OpenRecording:
    """Record to a file; answered by `RecordingEnded` in the end. What became of the file is told by webhook."""

    recording_id: str
    options: RecordingOptions
    sample_rate_hz: int


@dataclass(frozen=True, slots=True)
class HoldRecording:
    """Leave out what is heard from now on, or with `held` False go on."""

    recording_id: str
    held: bool


@dataclass(frozen=True, slots=True)
class CloseRecording:
    """End a recording; answered by `RecordingEnded`."""

    recording_id: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the app by webhook. `payload` is complete; `occurred_at` is seconds since 1970."""

    event_type: str
    payload: dict[str, Any]
    occurred_at: float
    route: WebhookRoute


@dataclass(frozen=True, slots=True)
class Release:
    """Nothing more will happen to this leg; free what the runner holds. Always the last effect."""


Effect = (
    OpenMedia
    | ConnectMedia
    | CloseMedia
    | PlaceCall
    | AcceptCall
    | RejectCall
    | EndCall
    | OpenStream
    | OpenDialogflow
    | BeginStream
    | CloseStream
    | OpenFork
    | CloseFork
    | OpenTranscription
    | CloseTranscription
    | JoinLegs
    | HearEarly
    | PartLegs
    | HoldCall
    | SendDigits
    | SendInfo
    | ReferCall
    | ForgetReferral
    | OpenPlayback
    | OpenSpeak
    | ClosePlayback
    | OpenRecording
    | HoldRecording
    | CloseRecording
    | Notify
    | Release
)
