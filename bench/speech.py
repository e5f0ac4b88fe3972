"""How much the local speech engine costs, and how well it hears: `python bench/speech.py [--tracks N]`.

Feeds the shipped sentence in real time over N tracks and prints CPU of the worker
per track, the delay of finals and the word error rate. Needs the extra `offhook[speech]`.
"""

import argparse
import asyncio
import os
import platform
import statistics
import time
import wave
from importlib import resources
from pathlib import Path

from offhook.edge.speech.protocol import Final, Partial, SpeechConfig, SpeechEvent
from offhook.edge.speech.service import SpeechService
from offhook.kit.wer import word_errors

CHUNK_MS = 100
PAUSE_MS = 1500


def cpu_s(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def one_track(service: SpeechService, number: int, pcm: bytes, said: str, results: list) -> None:
    begin_s = 0.0
    delays_ms: list[float] = []
    events: list[SpeechEvent] = []

    def listen(event: SpeechEvent) -> None:
        events.append(event)
        if isinstance(event, Final):
            # The end includes the tail of 150 ms that is kept behind the last sound.
            delays_ms.append((time.perf_counter() - begin_s) * 1000 - (event.end_ms - 150))

    handle = await service.open(number, SpeechConfig(interim=True), "Google", listen)
    # Tracks do not speak in step.
    await asyncio.sleep(number * 0.37 % 3)
    begin_s = time.perf_counter()
    for index in range(len(pcm) // (CHUNK_MS * 16)):
        at = index * CHUNK_MS * 16
        await asyncio.sleep(max(0.0, begin_s + (index + 1) * CHUNK_MS / 1000 - time.perf_counter()))
        handle.push(pcm[at : at + CHUNK_MS * 16], index * CHUNK_MS)
    await handle.close()
    errors = word_errors(said, " ".join(e.text for e in events if isinstance(e, Final)))
    results.append(
        (delays_ms, errors.rate, sum(isinstance(e, Partial) for e in events), handle.stats().dropped_ms)
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracks", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    data = resources.files("offhook") / "data"
    said = (data / "sentence.txt").read_text("utf-8")
    with (data / "sentence.wav").open("rb") as raw, wave.open(raw) as file:
        sentence = file.readframes(file.getnframes()) + bytes(PAUSE_MS * 16)
    pcm, said = sentence * options.repeats, f"{said} " * options.repeats
    service = SpeechService(workers=options.workers)
    began = time.perf_counter()
    await service.warm_up()
    load_s = time.perf_counter() - began
    results: list = []
    before_s, own_before_s, began = cpu_s(service.pids()), time.process_time(), time.perf_counter()
    await asyncio.gather(
        *(one_track(service, number, pcm, said, results) for number in range(options.tracks))
    )
    took_s = time.perf_counter() - began
    used_s, own_s = cpu_s(service.pids()) - before_s, time.process_time() - own_before_s
    audio_s = options.tracks * len(pcm) / 16000
    delays_ms = sorted(delay for delays, *_ in results for delay in delays)
    print(f"machine            {platform.machine()} {os.cpu_count()} CPUs, {platform.python_version()}")
    print(f"tracks             {options.tracks} on {options.workers} worker(s), {took_s:.0f} s")
    print(
        f"model load         {load_s:.2f} s, {max(map(memory_mib, service.pids())):.0f} MiB a worker after the run"
    )
    print(f"worker CPU         {used_s / audio_s:.3f} core a track (server side {own_s / audio_s:.4f})")
    print(
        f"final after speech p50 {statistics.median(delays_ms):.0f} ms, "
        f"p95 {delays_ms[int(len(delays_ms) * 0.95)]:.0f} ms ({len(delays_ms)} finals)"
    )
    print(
        f"partials           {sum(partials for _, _, partials, _ in results) / audio_s:.2f} a second of audio"
    )
    print(f"word error rate    {100 * statistics.mean(rate for _, rate, _, _ in results):.1f} %")
    print(f"dropped            {sum(dropped for *_, dropped in results)} ms")
    await service.close()


if __name__ == "__main__":
    asyncio.run(main())
