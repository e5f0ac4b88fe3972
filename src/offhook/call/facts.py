"""What has happened to a leg, told by the edge through the leg runner."""

from dataclasses import dataclass, field
from typing import Any

from offhook.call.commands import Dial
from offhook.call.values import Header, QualityStats, Track
from offhook.proto.sdp import NegotiatedMedia, SessionDescription


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """An INVITE arrived and an application takes its events. The first fact of an incoming leg.

    `caller` and `callee` are what webhooks call `from` and `to`: the user part of the SIP URI
    when it is a number or a name, else the URI. `offer` is None for an INVITE without SDP.
    """

    caller: str
    callee: str
    caller_name: str
    from_sip_uri: str
    to_sip_uri: str
    headers: tuple[Header, ...]
    offer: SessionDescription | None


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """An app asked for a call. The first fact of an outgoing leg; the names are as in `IncomingCall`.

    `headers` are those that go into the INVITE because the app asked; `offer` is None, because it is ours.
    """

    caller: str
    callee: str
    caller_name: str
    from_sip_uri: str
    to_sip_uri: str
    headers: tuple[Header, ...]
    plan: Dial
    offer: None = None


@dataclass(frozen=True, slots=True)
class CalleeRinging:
    """The far end answered provisionally; `media` is set when it already sends audio."""

    media: NegotiatedMedia | None = None


@dataclass(frozen=True, slots=True)
class CalleeAnswered:
    """The far end took the call. `callee` is which of the addresses; `media` None: its SDP is of no use."""

    callee: str
    media: NegotiatedMedia | None
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class CalleeRefused:
    """Nobody took the call: the SIP status, None where nothing could even be asked."""

    sip_status: int | None
    by_peer: bool = True


@dataclass(frozen=True, slots=True)
class AckReceived:
    """The far end acknowledged our 200 OK. `media` is set when the ACK carried the SDP answer."""

    media: NegotiatedMedia | None = None


@dataclass(frozen=True, slots=True)
class CallerCancelled:
    """The caller sent CANCEL before we answered."""


@dataclass(frozen=True, slots=True)
class PeerHungUp:
    """The far end sent BYE."""

    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class SignallingFailed:
    """The dialog cannot go on: no ACK came, the transport broke, our answer could not be made."""

    detail: str
    sip_status: int | None = None


@dataclass(frozen=True, slots=True)
class MediaFailed:
    """The media leg could not be opened or broke down."""

    detail: str


@dataclass(frozen=True, slots=True)
class MediaRenegotiated:
    """A re-INVITE was accepted: from now on the leg's RTP is like this."""

    media: NegotiatedMedia


@dataclass(frozen=True, slots=True)
class MediaTimedOut:
    """No RTP came for the configured time on an answered leg."""


@dataclass(frozen=True, slots=True)
class MediaClosed:
    """The media leg is gone; the last fact of a leg's media. None when it never opened."""

    quality: QualityStats | None = None


@dataclass(frozen=True, slots=True)
class StreamConnected:
    """The socket of a stream is open and `connected` was sent."""

    stream_id: str


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """A stream that was connected has ended: by command, by the app, or with the call."""

    stream_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class StreamFailed:
    """A stream could not connect (`connection_failed`) or was lost (`connection_lost`)."""

    stream_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ForkOpened:
    """Packets are being copied."""

    fork_id: str


@dataclass(frozen=True, slots=True)
class ForkClosed:
    """No more packets will be copied, or the fork could not be opened."""

    fork_id: str


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """One word of a transcript and when it was said, in ms on the leg's media clock."""

    word: str = field(repr=False)
    start_ms: int
    end_ms: int
    confidence: float | None = None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class TranscriptReady:
    """An engine recognised something on one track. Times are ms on the leg's media clock.

    `engine` is the name that the app used, `served_by` what really heard it. `words` are empty where
    that tells none; `word_times` says whether it measured their times ("measured") or they are
    spread over the speech ("estimated"). `utterance_end`: nothing more belongs to the utterance.
    """

    track: Track
    transcript: str
    confidence: float | None
    is_final: bool
    utterance_id: str
    start_ms: int
    end_ms: int
    language: str | None
    engine: str
    served_by: str
    words: tuple[SpokenWord, ...] = ()
    word_times: str | None = None
    utterance_end: bool = False


@dataclass(frozen=True, slots=True)
class AgentAnswered:
    """A Dialogflow agent answered an utterance, or an event; `is_final` is False for a part of an answer.

    `messages` are the alternatives of each text message. `sentiment` is (score, magnitude).
    """

    stream_id: str
    transcript: str
    confidence: float
    is_final: bool
    messages: tuple[tuple[str, ...], ...]
    intent: str | None = None
    language: str | None = None
    sentiment: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class TranscriptionMoved:
    """The engine of one track broke off, or could not be had, and another one goes on."""

    transcription_id: str
    track: Track
    engine: str
    reason: str


@dataclass(frozen=True, slots=True)
class TranscriptionClosed:
    """The engine has told its last final; `detail` is set when it broke down."""

    transcription_id: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class RecordingEnded:
    """A recording has ended: by command, by itself, with the call, or because the file could not be written."""

    recording_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Bridged:
    """The leg and another call hear each other; it may have been bridged to a third one before."""

    other: str


@dataclass(frozen=True, slots=True)
class Unbridged:
    """The other leg of the bridge has gone."""


@dataclass(frozen=True, slots=True)
class DigitReceived:
    """The far end pressed a key; `by_info`: by SIP INFO, not within the media."""

    digit: str
    by_info: bool = False


@dataclass(frozen=True, slots=True)
class InfoReceived:
    """The far end sent an INFO that is no key."""

    content_type: str
    body: str


@dataclass(frozen=True, slots=True)
class InfoAnswered:
    """An INFO of ours has its final SIP status."""

    status: int


@dataclass(frozen=True, slots=True)
class ReferAnswered:
    """Our REFER has its final SIP status."""

    status: int


@dataclass(frozen=True, slots=True)
class ReferNotified:
    """The far end tells the SIP status of the call it was referred to; with `over` it tells no more."""

    status: int | None
    over: bool


@dataclass(frozen=True, slots=True)
class PlaybackStarted:
    """The first sample of a sound is on its way to the far end."""

    playback_id: str


@dataclass(frozen=True, slots=True)
class PlaybackEnded:
    """A playback is over; `status` as in `call.playback.ended`, `detail` for a person."""

    playback_id: str
    status: str
    detail: str = ""


Fact = (
    IncomingCall
    | OutgoingCall
    | CalleeRinging
    | CalleeAnswered
    | CalleeRefused
    | AckReceived
    | CallerCancelled
    | PeerHungUp
    | SignallingFailed
    | MediaFailed
    | MediaRenegotiated
    | MediaTimedOut
    | MediaClosed
    | StreamConnected
    | StreamClosed
    | StreamFailed
    | ForkOpened
    | ForkClosed
    | TranscriptReady
    | TranscriptionMoved
    | TranscriptionClosed
    | AgentAnswered
    | RecordingEnded
    | Bridged
    | Unbridged
    | DigitReceived
    | InfoReceived
    | InfoAnswered
    | ReferAnswered
    | ReferNotified
    | PlaybackStarted
    | PlaybackEnded
)

Payload = dict[str, Any]
