"""Each promise of the demo fails when it was not kept."""

import random
from collections.abc import Callable, Iterable

import pytest

from offhook.app.demo.checks import COMMANDS, ONCE, Evidence, judge
from offhook.base.g711 import mulaw_encode

pytestmark = pytest.mark.unit

SOURCE = random.Random(1)
PLAYED = b"".join(SOURCE.randrange(-20_000, 20_000).to_bytes(2, "little", signed=True) for _ in range(1_600))


def packets(numbers: Iterable[int]) -> list[bytes]:
    return [
        b"\x80\x00" + number.to_bytes(2, "big") + bytes(8) + bytes([number & 0xFF]) * 160
        for number in numbers
    ]


def perfect() -> Evidence:
    kinds = [*ONCE[:-1], "call.transcription", "call.transcription", "call.hangup"]
    return Evidence(
        sentence="The quick brown fox jumps over the lazy dog.",
        played=PLAYED,
        streamed_pcmu=b"\xff" * 480 + mulaw_encode(PLAYED) + b"\xff" * 160,
        forked_rx=packets(range(10, 40)),
        phone_sent=packets(range(50)),
        forked_tx=packets(range(1_010, 1_040)),
        phone_received=packets(range(1_000, 1_050)),
        webhooks=[{"id": str(n), "type": kind, "verified": True} for n, kind in enumerate(kinds)],
        commands=[{"name": name, "ok": True, "ms": 3.0} for name in COMMANDS],
        partials=3,
        finals=["the quick brown fox", "jumps over the lazy dog"],
        track_ms={"inbound": 600, "outbound": 600},
        call_ended_by_app=True,
    )


def test_a_perfect_call_passes_every_check() -> None:
    verdicts = judge(perfect())
    assert [verdict.name for verdict in verdicts if not verdict.held] == []
    assert len(verdicts) == 8


def unverified(evidence: Evidence) -> None:
    evidence.webhooks[2]["verified"] = False


def no_webhooks(evidence: Evidence) -> None:
    evidence.webhooks = []


def no_hangup_webhook(evidence: Evidence) -> None:
    evidence.webhooks.pop()


def event_after_hangup(evidence: Evidence) -> None:
    evidence.webhooks.append({"id": "x", "type": "call.transcription", "verified": True})


def started_twice(evidence: Evidence) -> None:
    evidence.webhooks.insert(3, {"id": "x", "type": "streaming.started", "verified": True})


def refused_command(evidence: Evidence) -> None:
    evidence.commands[2]["ok"] = False


def unsent_command(evidence: Evidence) -> None:
    del evidence.commands[4]


def half_a_track(evidence: Evidence) -> None:
    evidence.track_ms["outbound"] = 40


def gap_in_chunks(evidence: Evidence) -> None:
    evidence.track_gaps = {"inbound": 1}


def one_wrong_sample(evidence: Evidence) -> None:
    wrong = bytearray(evidence.streamed_pcmu)
    wrong[700] ^= 0x10
    evidence.streamed_pcmu = bytes(wrong)


def no_audio(evidence: Evidence) -> None:
    evidence.streamed_pcmu = b""


def changed_rx_packet(evidence: Evidence) -> None:
    evidence.forked_rx[5] = evidence.forked_rx[5] + b"x"


def lost_tx_packet(evidence: Evidence) -> None:
    del evidence.forked_tx[5]


def too_few_packets(evidence: Evidence) -> None:
    del evidence.forked_rx[3:]


def no_transcript(evidence: Evidence) -> None:
    evidence.finals = []


def bad_transcript(evidence: Evidence) -> None:
    evidence.finals = ["the quick brown fox jumps over a crazy frog"]


def caller_hung_up(evidence: Evidence) -> None:
    evidence.call_ended_by_app = False


@pytest.mark.parametrize(
    ("spoil", "failing"),
    [
        (unverified, "webhooks"),
        (no_webhooks, "webhooks"),
        (no_hangup_webhook, "webhooks"),
        (event_after_hangup, "webhooks"),
        (started_twice, "webhooks"),
        (refused_command, "commands"),
        (unsent_command, "commands"),
        (half_a_track, "both tracks"),
        (gap_in_chunks, "both tracks"),
        (one_wrong_sample, "streamed audio"),
        (no_audio, "streamed audio"),
        (changed_rx_packet, "forked rx"),
        (too_few_packets, "forked rx"),
        (lost_tx_packet, "forked tx"),
        (no_transcript, "transcript"),
        (bad_transcript, "transcript"),
        (caller_hung_up, "hangup"),
    ],
)
def test_one_broken_promise_fails_its_check_and_no_other(
    spoil: Callable[[Evidence], None], failing: str
) -> None:
    evidence = perfect()
    spoil(evidence)
    failed = [verdict.name for verdict in judge(evidence) if not verdict.held]
    assert len(failed) == 1
    assert failed[0].startswith(failing)


def test_a_webhook_delivered_twice_with_one_id_counts_once() -> None:
    evidence = perfect()
    evidence.webhooks.insert(3, dict(evidence.webhooks[2]))
    assert all(verdict.held for verdict in judge(evidence))


def test_no_evidence_at_all_fails_every_check() -> None:
    assert not any(verdict.held for verdict in judge(Evidence()))
