"""Many tracks at once, in real time, through the real service and its worker processes.

A track is a person who goes on talking: one clip after another, a pause between them. The moment when a
clip's last sound is pushed is known, so it is known how late its text is, and whether any was lost.
"""

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from rig import accounts

from hearing.conditions import PHONE_RATE_HZ, active_level, telephone
from hearing.material import Clip
from offhook.edge.speech.protocol import Final, Partial, SpeechConfig, SpeechEvent
from offhook.edge.speech.service import SpeechService

CHUNK_MS = 100
"""As the media core hands audio to the service."""
PAUSE_MS = 1200
_BYTES_PER_MS = PHONE_RATE_HZ * 2 // 1000
_FRAME_MS = 20
_SOUND = 0.05
"""26 dB below the level of speech: softer is its end."""
SAMPLE_S = 5.0


class Heard(NamedTuple):
    """Words that were told, without the words."""

    at_ms: float
    final: bool
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """When the sound of one clip began and ended, in milliseconds of its track."""

    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Line:
    """A clip as it goes over the telephone, and where its sound begins and ends."""

    pcm: bytes = field(repr=False)
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What worker and server held at one moment."""

    at_s: float
    worker_mib: float
    server_mib: float


@dataclass(slots=True)
class Load:
    """What a run showed."""

    tracks: int
    interim: bool
    took_s: float = 0.0
    final_ms: list[float] = field(default_factory=list)
    """From the end of a clip's sound to its last final."""
    partial_ms: list[float] = field(default_factory=list)
    """From the begin of a clip's sound to its first words."""
    partials: int = 0
    lost: int = 0
    """Clips of which no word came."""
    audio_s: float = 0.0
    speech_s: float = 0.0
    dropped_ms: int = 0
    worker_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    others_share: float = 0.0
    """Part of a core that other programs used meanwhile."""
    memory: list[Memory] = field(default_factory=list)

    def keeps_up(self, final_p50_ms: float, final_p95_ms: float) -> bool:
        """Say whether nothing was lost and finals came in time."""
        in_time = (
            percentile(self.final_ms, 50) <= final_p50_ms and percentile(self.final_ms, 95) <= final_p95_ms
        )
        return in_time and not self.dropped_ms and not self.lost


def percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


def lines(clips: Sequence[Clip]) -> list[Line]:
    """Return the clips as a telephone carries them."""
    return [_line(clip) for clip in clips]


async def busy(
    service: SpeechService, talk: list[Line], *, tracks: int, seconds: float, interim: bool
) -> Load:
    """Let `tracks` people talk for so long; the models are loaded already."""
    load = Load(tracks, interim)
    pids = service.pids()
    busy_s = accounts.busy_s()
    worker_s, server_s, began = accounts.cpu_s(pids), time.process_time(), time.perf_counter()
    watch = asyncio.ensure_future(_watch(service, load, began))
    try:
        await asyncio.gather(*(_one(service, load, talk, number, seconds) for number in range(tracks)))
    finally:
        watch.cancel()
    load.took_s = time.perf_counter() - began
    load.worker_cpu_s = accounts.cpu_s(pids) - worker_s
    load.server_cpu_s = time.process_time() - server_s
    others_s = accounts.busy_s() - busy_s - load.worker_cpu_s - load.server_cpu_s
    load.others_share = max(0.0, others_s) / load.took_s
    return load


async def _watch(service: SpeechService, load: Load, began: float) -> None:
    while True:
        worker_kib, server_kib = accounts.resident_kib(service.pids()), accounts.resident_kib([os.getpid()])
        load.memory.append(Memory(time.perf_counter() - began, worker_kib / 1024, server_kib / 1024))
        await asyncio.sleep(SAMPLE_S)


async def _one(service: SpeechService, load: Load, talk: list[Line], number: int, seconds: float) -> None:
    heard: list[Heard] = []

    def listen(event: SpeechEvent) -> None:
        # Not the event: its words would grow the memory that is measured.
        if isinstance(event, Final | Partial):
            at_ms = (time.perf_counter() - begin) * 1000
            heard.append(Heard(at_ms, isinstance(event, Final), event.start_ms, event.end_ms))

    # Tracks do not speak in step.
    await asyncio.sleep(number * 0.37 % 3)
    begin = time.perf_counter()
    handle = await service.open(number, SpeechConfig(interim=load.interim), "Google", listen)
    spoken: list[Spoken] = []
    at_ms = 0
    for chunk in _chunks(talk[number * 7 % len(talk) :] + talk[: number * 7 % len(talk)], spoken, seconds):
        due = begin + (at_ms + CHUNK_MS) / 1000
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        handle.push(chunk, at_ms)
        at_ms += len(chunk) // _BYTES_PER_MS
    await handle.close()
    stats = handle.stats()
    load.audio_s += at_ms / 1000
    load.dropped_ms += stats.dropped_ms
    load.partials += stats.partials
    _judge(load, spoken, heard)


def _chunks(talk: list[Line], spoken: list[Spoken], seconds: float) -> Iterator[bytes]:
    waiting = bytearray()
    written_ms = 0
    for line in itertools.cycle(talk):
        if written_ms >= seconds * 1000:
            break
        spoken.append(Spoken(written_ms + line.first_ms, written_ms + line.last_ms))
        waiting += line.pcm + bytes(PAUSE_MS * _BYTES_PER_MS)
        written_ms += len(line.pcm) // _BYTES_PER_MS + PAUSE_MS
        while len(waiting) >= CHUNK_MS * _BYTES_PER_MS:
            yield bytes(waiting[: CHUNK_MS * _BYTES_PER_MS])
            del waiting[: CHUNK_MS * _BYTES_PER_MS]
    yield bytes(waiting)


def _judge(load: Load, spoken: list[Spoken], heard: list[Heard]) -> None:
    for piece in spoken:
        load.speech_s += (piece.last_ms - piece.first_ms) / 1000
        told = [one for one in heard if one.start_ms < piece.last_ms and one.end_ms > piece.first_ms]
        finals = [one.at_ms for one in told if one.final]
        if not finals:
            load.lost += 1
            continue
        load.final_ms.append(max(finals) - piece.last_ms)
        load.partial_ms.append(min(one.at_ms for one in told) - piece.first_ms)


def _line(clip: Clip) -> Line:
    pcm = telephone(clip.samples)
    pcm = pcm[: len(pcm) // (_FRAME_MS * _BYTES_PER_MS) * _FRAME_MS * _BYTES_PER_MS]
    samples = np.frombuffer(pcm, dtype="<i2") / 32768.0
    rms = np.sqrt(np.mean(samples.reshape(-1, _FRAME_MS * 8) ** 2, axis=1))
    loud = np.flatnonzero(rms > _SOUND * active_level(samples))
    return Line(pcm, int(loud[0]) * _FRAME_MS, (int(loud[-1]) + 1) * _FRAME_MS)


def slope_mib_per_hour(memory: list[Memory], of: str) -> float:
    """Return how fast memory grows, by the last two thirds of the samples (Theil and Sen: outliers do not count)."""
    kept = memory[len(memory) // 3 :]
    slopes = [
        (getattr(b, of) - getattr(a, of)) / (b.at_s - a.at_s) for a, b in itertools.combinations(kept, 2)
    ]
    return 3600 * statistics.median(slopes) if slopes else 0.0
