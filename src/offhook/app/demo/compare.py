"""Is it the same? Comparisons of audio by samples and of packets by bytes. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from offhook.kit.audio import samples_of

FRAME_SAMPLES = 160
ANCHORS = 12
"""How many of the loudest frames vote on the offset when the audio is not found whole."""


@dataclass(frozen=True, slots=True)
class AudioComparison:
    """Where some audio was heard, and how many of its samples were different there.

    `offset_samples` is None when nothing of it was found; then every sample counts as different.
    """

    samples: int
    offset_samples: int | None
    differing: int

    @property
    def identical(self) -> bool:
        """Say whether all of it was heard, sample by sample."""
        return self.samples > 0 and self.offset_samples is not None and self.differing == 0


def compare_audio(played: bytes, heard: bytes) -> AudioComparison:
    """Find `played` in `heard` (both s16le at one rate) and count the samples that differ there.

    When it is not there whole, the loudest frames of it are looked for one by one, and the
    offset that most of them agree on is taken; samples outside `heard` differ.
    """
    count = len(played) // 2
    whole = _find(heard, played)
    if count and whole is not None:
        return AudioComparison(count, whole, 0)
    offset = _voted_offset(played, heard)
    if offset is None:
        return AudioComparison(count, None, count)
    ours, theirs = samples_of(played), samples_of(heard)
    differing = sum(
        not 0 <= position < len(theirs) or theirs[position] != sample
        for position, sample in enumerate(ours, start=offset)
    )
    return AudioComparison(count, offset, differing)


def _find(heard: bytes, part: bytes) -> int | None:
    """Return the first sample position of `part` in `heard`."""
    start = heard.find(part)
    while start != -1:
        if start % 2 == 0:
            return start // 2
        start = heard.find(part, start + 1)
    return None


def _voted_offset(played: bytes, heard: bytes) -> int | None:
    samples = samples_of(played)
    starts = range(0, len(samples) - FRAME_SAMPLES + 1, FRAME_SAMPLES)
    loudest = sorted(starts, key=lambda at: -sum(map(abs, samples[at : at + FRAME_SAMPLES])))[:ANCHORS]
    votes: Counter[int] = Counter()
    for start in loudest:
        found = _find(heard, played[start * 2 : (start + FRAME_SAMPLES) * 2])
        if found is not None:
            votes[found - start] += 1
    return votes.most_common(1)[0][0] if votes else None


@dataclass(frozen=True, slots=True)
class PacketComparison:
    """How copies of RTP packets differ from the packets themselves, between first and last copy."""

    copies: int
    differing: int
    """Copies with the sequence number of a packet but other bytes."""
    missing: int
    """Packets between the first and the last copied one that were not copied."""
    unknown: int
    """Copies with the sender's SSRC of packets that there never were."""
    repeated: int
    reordered: int
    foreign: int = 0
    """Datagrams with another SSRC: somebody else sent to the receiver's port. They are not copies."""

    @property
    def identical(self) -> bool:
        """Say whether every packet of the span was copied once, in order, byte for byte."""
        wrong = self.differing + self.missing + self.unknown + self.repeated + self.reordered
        return self.copies > 0 and wrong == 0


def compare_packets(copies: Sequence[bytes], packets: Sequence[bytes]) -> PacketComparison:
    """Compare forked RTP packets with those that the phone sent or received, matched by sequence number."""
    senders = {_ssrc(packet) for packet in packets}
    ours = [copy for copy in copies if _ssrc(copy) in senders]
    return _compare_own(ours, packets, foreign=len(copies) - len(ours))


def _compare_own(copies: Sequence[bytes], packets: Sequence[bytes], *, foreign: int) -> PacketComparison:
    if not copies:
        return PacketComparison(0, 0, 0, 0, 0, 0, foreign)
    base = _sequence_number(packets[0])
    originals = dict(zip(_extended(packets, base), packets, strict=True))
    numbers = _extended(copies, base)
    known = [number for number in numbers if number in originals]
    distinct = set(known)
    between = [number for number in originals if known and min(known) <= number <= max(known)]
    return PacketComparison(
        copies=len(copies),
        differing=sum(
            number in originals and originals[number] != copy
            for number, copy in zip(numbers, copies, strict=True)
        ),
        missing=sum(number not in distinct for number in between),
        unknown=len(numbers) - len(known),
        repeated=len(known) - len(distinct),
        reordered=sum(later < earlier for earlier, later in pairwise(numbers)),
        foreign=foreign,
    )


def _sequence_number(packet: bytes) -> int:
    return int.from_bytes(packet[2:4], "big")


def _ssrc(packet: bytes) -> bytes:
    return packet[8:12]


def _extended(packets: Sequence[bytes], base: int) -> list[int]:
    """Return sequence numbers that do not wrap: the 16 bits of RFC 3550, counted on from `base`."""
    numbers: list[int] = []
    last = base
    for packet in packets:
        step = (_sequence_number(packet) - last) & 0xFFFF
        last += step - 0x10000 if step >= 0x8000 else step
        numbers.append(last)
    return numbers


def read_packets(recorded: bytes) -> list[bytes]:
    """Return the packets of a recording: each after its length as two bytes; a torn last one is left out."""
    packets: list[bytes] = []
    at = 0
    while at + 2 <= len(recorded):
        size = int.from_bytes(recorded[at : at + 2], "big")
        if at + 2 + size > len(recorded):
            break
        packets.append(recorded[at + 2 : at + 2 + size])
        at += 2 + size
    return packets
