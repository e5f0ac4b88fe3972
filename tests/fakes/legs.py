"""A leg to ask and to tell things, and shorthands for what it decides."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from offhook.call import commands as ask
from offhook.call import effects as do
from offhook.call import facts
from offhook.call.ability import LegContext
from offhook.call.codecs import CodecPolicy
from offhook.call.leg import CallLeg, Compat
from offhook.call.values import Header, LegIdentity, LegState, QualityStats, Track, UdpTarget, WebhookRoute
from offhook.proto.sdp import NegotiatedMedia, SessionDescription, negotiate

START = 1_790_000_000.0
IDENTITY = LegIdentity("v3:leg", "leg-uuid", "session-uuid", "1000000000000000001")
ROUTE = WebhookRoute("https://app.example/hook", "https://backup.example/hook", 5.0)
QUALITY = QualityStats(
    mos=4.41,
    jitter_max_ms=2.5,
    jitter_packets=100,
    rx_packets=500,
    rx_packets_lost=1,
    tx_packets=498,
    tx_packets_skipped=0,
)
URL = "wss://app.example/audio?token=t"


def memory(leg: CallLeg) -> dict[str, Any]:
    """Return a copy of all that a leg and its abilities keep, which compares by value."""
    kept = {name: value for name, value in vars(leg).items() if name not in ("_abilities", "_context")}
    known = {name: getattr(leg._context, name) for name in LegContext.__slots__ if name != "player"}
    abilities = [
        {name: value for name, value in vars(ability).items() if name != "_leg"} for ability in leg._abilities
    ]
    return copy.deepcopy({**kept, "known": known, "abilities": abilities})


def sdp(payload_types: str = "0 8") -> SessionDescription:
    """Return an audio offer of these static payload types."""
    return SessionDescription.parse(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
        f"m=audio 4000 RTP/AVP {payload_types}\r\n".encode()
    )


def plan(**changes: Any) -> ask.Dial:
    """Return a call as asked for."""
    return ask.Dial(
        **{
            "connection_id": IDENTITY.connection_id,
            "to": ("+15550002222",),
            "caller": "+15550001111",
            **changes,
        }
    )


def outgoing(**changes: Any) -> facts.OutgoingCall:
    """Return the fact that an app asked for a call."""
    asked = plan(**changes)
    return facts.OutgoingCall(
        caller=asked.caller,
        callee=asked.to[0],
        caller_name=asked.caller_name,
        from_sip_uri="+15550001111@trunk.example",
        to_sip_uri="+15550002222@trunk.example",
        headers=asked.headers,
        plan=asked,
    )


def media(codec: str = "PCMU") -> NegotiatedMedia:
    """Return what an offer of PCMU and PCMA leaves when we want one of them."""
    agreed = negotiate(sdp(), (codec,))
    assert agreed is not None
    return agreed


def incoming(**changes: Any) -> facts.IncomingCall:
    """Return the fact that an INVITE came."""
    call: dict[str, Any] = {
        "caller": "+15550001111",
        "callee": "+15550002222",
        "caller_name": "Alice",
        "from_sip_uri": "+15550001111@192.0.2.1",
        "to_sip_uri": "+15550002222@192.0.2.2",
        "headers": (
            Header("Via", "SIP/2.0/UDP 192.0.2.1"),
            Header("X-Ticket", "7"),
            Header("User-to-User", "abc"),
            Header("Proxy-Authorization", "Digest secret"),
        ),
        "offer": sdp(),
    }
    return facts.IncomingCall(**{**call, **changes})


def stream(**changes: Any) -> ask.StreamOptions:
    """Return a stream as asked for."""
    return ask.StreamOptions(**{"url": URL, **changes})


def start_stream(**changes: Any) -> ask.StartStream:
    """Return the command that starts a stream."""
    return ask.StartStream(stream=stream(**changes))


def start_fork(fork_type: ask.ForkType = ask.ForkType.DECRYPTED) -> ask.StartFork:
    """Return the command that starts an rx/tx fork."""
    return ask.StartFork(
        rx=UdpTarget("192.0.2.9", 5000), tx=UdpTarget("192.0.2.9", 5002), fork_type=fork_type
    )


def start_transcription(*, interim: bool = False, **changes: Any) -> ask.StartTranscription:
    """Return the command that starts a transcription."""
    options = ask.TranscriptionOptions(interim_results=interim, **changes)
    return ask.StartTranscription(transcription=options)


def transcript(
    text: str = "hello", *, is_final: bool = True, track: Track = Track.RX
) -> facts.TranscriptReady:
    """Return the fact that something was recognised."""
    return facts.TranscriptReady(track, text, 0.9, is_final, "u-1", 100, 900, "en", "Google", "local")


@dataclass
class Desk:
    """One leg with a clock of its own; keeps everything the leg has decided."""

    compat: Compat = field(default_factory=Compat)
    codecs: CodecPolicy = field(default_factory=lambda: CodecPolicy(("PCMU", "PCMA")))
    first_command_timeout_s: float | None = None
    now: float = START
    done: list[do.Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        ids = count(1)
        self.leg = CallLeg(
            IDENTITY,
            user_id="user-uuid",
            route=ROUTE,
            codecs=self.codecs,
            new_id=lambda: f"id-{next(ids)}",
            compat=self.compat,
            first_command_timeout_s=self.first_command_timeout_s,
        )

    def tell(self, *news: facts.Fact) -> list[do.Effect]:
        """Tell facts, and return what the last one led to."""
        effects: list[do.Effect] = []
        for fact in news:
            effects = self.leg.handle(fact, self.now)
            self.done += effects
        return effects

    def command(self, command: ask.Command) -> list[do.Effect]:
        """Ask a command and return what it led to."""
        return self.command_for_reply(command)[1]

    def command_for_reply(self, command: ask.Command) -> tuple[ask.Reply, list[do.Effect]]:
        """Ask a command and return its reply too."""
        reply, effects = self.leg.command(command, self.now)
        self.done += effects
        return reply, effects

    def wait(self, seconds: float) -> list[do.Effect]:
        """Let time pass."""
        self.now += seconds
        effects = self.leg.handle_timeout(self.now)
        self.done += effects
        return effects

    @property
    def events(self) -> list[str]:
        """The types of all webhooks so far."""
        return told(self.done)


def told(effects: Iterable[do.Effect]) -> list[str]:
    """Return the event types among effects."""
    return [effect.event_type for effect in effects if isinstance(effect, do.Notify)]


def payload(effects: Iterable[do.Effect], event_type: str) -> dict[str, Any]:
    """Return the payload of the only webhook of this type."""
    (only,) = [each for each in effects if isinstance(each, do.Notify) and each.event_type == event_type]
    return only.payload


def kinds(effects: Iterable[do.Effect]) -> list[type]:
    """Return the types of effects, in order."""
    return [type(effect) for effect in effects]


def ringing(**changes: Any) -> Desk:
    """Return a desk whose call rings."""
    desk = Desk(**changes)
    desk.tell(incoming())
    return desk


def answering(command: ask.Answer | None = None) -> Desk:
    """Return a desk whose call was answered and waits for the ACK."""
    desk = ringing()
    desk.command(command or ask.Answer())
    return desk


def answered(command: ask.Answer | None = None, **changes: Any) -> Desk:
    """Return a desk whose call is up."""
    desk = ringing(**changes)
    desk.command(command or ask.Answer())
    desk.tell(facts.AckReceived())
    assert desk.leg.state is LegState.ANSWERED
    return desk


def dialling(**changes: Any) -> Desk:
    """Return a desk whose call of ours rings at the far end."""
    desk = Desk()
    desk.tell(outgoing(**changes))
    assert desk.leg.state is LegState.DIALLING
    return desk


def picked_up(**changes: Any) -> Desk:
    """Return a desk whose call of ours was answered."""
    desk = dialling(**changes)
    desk.tell(facts.CalleeAnswered("+15550002222", media()))
    assert desk.leg.state is LegState.ANSWERED
    return desk


def ending() -> Desk:
    """Return a desk whose caller hung up and whose media leg is being closed."""
    desk = answered()
    desk.tell(facts.PeerHungUp())
    assert desk.leg.state is LegState.ENDING
    return desk


def ended() -> Desk:
    """Return a desk whose call is over."""
    desk = ending()
    desk.tell(facts.MediaClosed(QUALITY))
    assert desk.leg.state is LegState.ENDED
    return desk


IN_STATE: dict[LegState, Callable[[], Desk]] = {
    LegState.NEW: Desk,
    LegState.PARKED: ringing,
    LegState.DIALLING: dialling,
    LegState.ANSWERING: answering,
    LegState.ANSWERED: answered,
    LegState.ENDING: ending,
    LegState.ENDED: ended,
}
