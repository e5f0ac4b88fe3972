"""What must have happened for the demo to succeed. Pure: evidence in, verdicts out."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from offhook.app.demo.compare import AudioComparison, PacketComparison, compare_audio, compare_packets
from offhook.base.g711 import mulaw_decode, mulaw_encode
from offhook.kit.wer import word_error_rate

WER_MAX = 0.15
ONCE = (
    "call.initiated",
    "call.answered",
    "streaming.started",
    "call.fork.started",
    "streaming.stopped",
    "call.fork.stopped",
    "call.hangup",
)
"""Webhooks that must come exactly once."""
COMMANDS = (
    "answer",
    "start_streaming",
    "start_forking",
    "start_transcription",
    "stop_streaming",
    "stop_forking",
    "stop_transcription",
    "hangup",
)


@dataclass(slots=True)
class Evidence:
    """Everything that was observed of one demo call. Times are seconds, audio is s16le or PCMU."""

    sentence: str = ""
    """What is said in the played audio."""
    played: bytes = b""
    """What the phone was given to play: s16le, 8 kHz."""
    streamed_pcmu: bytes = b""
    """The inbound track as the app got it."""
    forked_rx: list[bytes] = field(default_factory=list)
    forked_tx: list[bytes] = field(default_factory=list)
    phone_sent: list[bytes] = field(default_factory=list)
    phone_received: list[bytes] = field(default_factory=list)
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    partials: int = 0
    finals: list[str] = field(default_factory=list)
    track_ms: dict[str, int] = field(default_factory=dict)
    track_gaps: dict[str, int] = field(default_factory=dict)
    call_ended_by_app: bool = False
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that had to hold, whether it did, and the figures."""

    name: str
    held: bool
    detail: str


def judge(evidence: Evidence) -> list[Verdict]:
    """Return a verdict on every promise of the demo, in the order of a call."""
    audio = compare_audio(mulaw_decode(mulaw_encode(evidence.played)), mulaw_decode(evidence.streamed_pcmu))
    received = compare_packets(evidence.forked_rx, evidence.phone_sent)
    sent = compare_packets(evidence.forked_tx, evidence.phone_received)
    return [
        _webhooks(evidence.webhooks),
        _commands(evidence.commands),
        _tracks(evidence),
        _audio(audio),
        _fork("forked rx = sent by the phone", received, minimum=_packets(evidence.played)),
        _fork("forked tx = received by the phone", sent, minimum=_packets(evidence.played)),
        _words(evidence),
        Verdict(
            "hangup by the app",
            evidence.call_ended_by_app,
            "the phone got BYE" if evidence.call_ended_by_app else "the phone got no BYE",
        ),
    ]


def _packets(played: bytes) -> int:
    """Return how many packets of 20 ms the sentence takes: fewer copies cannot be all of it."""
    return len(played) // 320


def _webhooks(webhooks: list[dict[str, Any]]) -> Verdict:
    name = "webhooks complete and verified"
    forged = sum(not webhook.get("verified") for webhook in webhooks)
    kinds = {str(webhook.get("id")): str(webhook.get("type")) for webhook in webhooks}
    counts = Counter(kinds.values())
    problems = [f"{kind} came {counts[kind]} times" for kind in ONCE if counts[kind] > 1]
    problems += [f"no {kind}" for kind in (*ONCE, "call.transcription") if not counts[kind]]
    if forged:
        problems.append(f"{forged} not verified")
    if webhooks and webhooks[-1].get("type") != "call.hangup":
        problems.append("call.hangup was not the last")
    return Verdict(name, not problems, "; ".join(problems) or f"{len(kinds)} webhooks")


def _commands(commands: list[dict[str, Any]]) -> Verdict:
    refused = [str(command.get("name")) for command in commands if not command.get("ok")]
    accepted = {command.get("name") for command in commands if command.get("ok")}
    missing = [name for name in COMMANDS if name not in accepted and name not in refused]
    problems = [f"{name} was refused" for name in refused] + [f"{name} was not sent" for name in missing]
    slowest = max((float(command.get("ms", 0)) for command in commands), default=0.0)
    detail = f"{len(commands)} accepted, slowest in {slowest:.0f} ms"
    return Verdict("commands of the official SDK", not problems, "; ".join(problems) or detail)


def _tracks(evidence: Evidence) -> Verdict:
    played_ms = max(len(evidence.played) // 16, 1)
    problems = [
        f"only {evidence.track_ms.get(track, 0)} ms of {track}"
        for track in ("inbound", "outbound")
        if evidence.track_ms.get(track, 0) < played_ms
    ]
    problems += [
        f"{gaps} gaps in the chunks of {track}" for track, gaps in evidence.track_gaps.items() if gaps
    ]
    detail = ", ".join(f"{name} {length_ms} ms" for name, length_ms in sorted(evidence.track_ms.items()))
    return Verdict("both tracks streamed without a gap", not problems, "; ".join(problems) or detail)


def _audio(audio: AudioComparison) -> Verdict:
    if audio.offset_samples is None:
        detail = f"none of its {audio.samples} samples was found in the stream"
    else:
        detail = (
            f"offset {audio.offset_samples / 8:.3f} ms, {audio.differing} of {audio.samples} samples differ"
        )
    return Verdict("streamed audio = played audio", audio.identical, detail)


def _fork(name: str, packets: PacketComparison, *, minimum: int) -> Verdict:
    problems = [
        f"{count} {what}"
        for what, count in (
            ("differ", packets.differing),
            ("missing", packets.missing),
            ("unknown", packets.unknown),
            ("repeated", packets.repeated),
            ("out of order", packets.reordered),
        )
        if count
    ]
    if packets.copies < max(minimum, 1):
        problems.append(f"the sentence alone has {minimum}")
    detail = f"{packets.copies} packets, " + ("; ".join(problems) or "byte for byte")
    if packets.foreign:
        detail += f" ({packets.foreign} datagrams of other senders left out)"
    return Verdict(name, packets.identical and not problems, detail)


def _words(evidence: Evidence) -> Verdict:
    rate = word_error_rate(evidence.sentence, " ".join(evidence.finals))
    held = bool(evidence.finals) and rate <= WER_MAX
    detail = (
        f"word error rate {rate:.1%} (at most {WER_MAX:.0%}), "
        f"{evidence.partials} partials, {len(evidence.finals)} finals"
    )
    return Verdict("transcript = sentence", held, detail if evidence.finals else "no final transcript")
