"""Many tracks for a long time: `python bench/soak_speech.py`, 16 tracks for ten minutes in real time.

Ends with status 1 if a sentence got no final, audio was dropped, or memory grew.
"""

import argparse
import asyncio
import sys

from hearing.load import Load, Memory, busy, lines, percentile, slope_mib_per_hour
from hearing.material import every_set
from rig import report
from speech import SPOKEN_IN_LOAD

from offhook.edge.speech.service import SpeechService

GROWTH_MIB_PER_HOUR_MAX = 30.0


async def soak(tracks: int, seconds: float, workers: int) -> Load:
    talk = lines([clip for one in every_set() if one.name in SPOKEN_IN_LOAD for clip in one.clips])
    service = SpeechService(workers=workers)
    try:
        await service.warm_up()
        return await busy(service, talk, tracks=tracks, seconds=seconds, interim=True)
    finally:
        await service.close()


def memory_row(name: str, of: str, memory: list[Memory]) -> str:
    values = [getattr(sample, of) for sample in memory]
    growth = slope_mib_per_hour(memory, of)
    return (
        f"{name:20s} {values[len(values) // 3]:.1f} MiB after a third, {values[-1]:.1f} at the end,"
        f" {max(values):.1f} at most, {growth:+.1f} MiB an hour"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracks", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    load = asyncio.run(soak(options.tracks, options.minutes * 60, options.workers))
    growth = max(slope_mib_per_hour(load.memory, of) for of in ("worker_mib", "server_mib"))
    heard, others = len(load.final_ms), 100 * load.others_share
    late = [f"{percentile(load.final_ms, percent):.0f} ms" for percent in (50, 95, 100)]
    report.keep(
        "soak_speech.txt",
        [
            report.provenance("on loopback"),
            f"tracks               {load.tracks} on {options.workers} workers, {load.took_s:.0f} s, with partials",
            f"sentences            {heard} with a final, {load.lost} without, {load.dropped_ms} ms dropped",
            f"final after speech   p50 {late[0]}, p95 {late[1]}, longest {late[2]}",
            f"worker CPU           {load.worker_cpu_s / load.audio_s:.3f} core a track,"
            f" others used {others:.0f} % of a core",
            memory_row("workers", "worker_mib", load.memory),
            memory_row("server", "server_mib", load.memory),
        ],
    )
    return int(load.lost > 0 or load.dropped_ms > 0 or growth > GROWTH_MIB_PER_HOUR_MAX)


if __name__ == "__main__":
    sys.exit(main())
