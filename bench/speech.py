"""How well the local speech engine hears, how soon, and at what cost: `python bench/speech.py`, eight minutes.

Writes `results/speech.txt` and the tables of docs/reference/transcription-accuracy.md. Figures of delay and
load mean something on a machine that does nothing else meanwhile; `--accuracy` leaves them out.
Needs the extras `offhook[speech,voice]`, ffmpeg and, for recordings, Debian's apt-get.
"""

import argparse
import asyncio
import re
import time
from importlib import metadata
from pathlib import Path

from hearing.accuracy import Verdict, judge, together
from hearing.conditions import CONDITIONS
from hearing.load import Load, busy, lines, percentile
from hearing.material import Set, every_set
from rig import report

from offhook.edge.speech.moonshine import ENGINE
from offhook.edge.speech.service import SpeechService

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "transcription-accuracy.md"
SPOKEN_IN_LOAD = ("announcements", "synthesised")
# Where a sentence ends is a matter of opinion, so that some finals are late on an idle machine, too.
FINAL_P50_MS, FINAL_P95_MS = 700.0, 1000.0
STEPS = {True: (1, 4, 8, 10, 12, 14, 16, 20, 24), False: (8, 16, 24, 32, 40)}
RUN_S = 20.0


def accuracy(sets: list[Set]) -> list[str]:
    """Return the table of word error rates."""
    recognizer = ENGINE.load({})
    names = [condition.name for condition in CONDITIONS]
    rows = [
        report.heading(["set", "clips", "words", *(f"{name} %" for name in names), "CPU s per s of audio"])
    ]
    every: dict[str, list[Verdict]] = {name: [] for name in names}
    for one in sets:
        rates, began = [], time.process_time()
        for condition in CONDITIONS:
            verdicts = [judge(recognizer, clip, condition) for clip in one.clips]
            if one.name != "synthesised":
                every[condition.name] += verdicts
            rates.append(f"{100 * together(verdicts).rate:.1f}")
        words = together(verdicts).reference_words
        cost = (time.process_time() - began) / one.seconds / len(CONDITIONS)
        rows.append(f"| {one.name} | {len(one.clips)} | {words} | {' | '.join(rates)} | {cost:.3f} |")
    if every[names[0]]:
        recorded = [together(every[name]) for name in names]
        rates = [f"{100 * errors.rate:.1f}" for errors in recorded]
        count = f"{len(every[names[0]])} | {recorded[0].reference_words}"
        rows.append(f"| all recordings | {count} | {' | '.join(rates)} | |")
    return rows


async def load_rows(sets: list[Set]) -> list[str]:
    """Return the table of delay and cost, one worker: more and more tracks until it is behind."""
    talk = lines([clip for one in sets if one.name in SPOKEN_IN_LOAD for clip in one.clips])
    rows = [
        report.heading(
            ["partials", "tracks", "core per track", "server, core per track", "first words p50 ms", "p95 ms",
             "final after speech p50 ms", "p95 ms", "partials per s of speech", "lost", "dropped ms",
             "worker MiB", "others % of a core"]
        )
    ]  # fmt: skip
    kept: dict[bool, int] = {}
    for interim, steps in STEPS.items():
        behind = 0
        for tracks in steps:
            service = SpeechService(workers=1, tracks_per_worker_max=max(steps))
            try:
                await service.warm_up()
                load = await busy(service, talk, tracks=tracks, seconds=RUN_S, interim=interim)
            finally:
                await service.close()
            rows.append(row(load))
            print(rows[-1], flush=True)
            if load.keeps_up(FINAL_P50_MS, FINAL_P95_MS):
                kept[interim] = tracks
                behind = 0
            else:
                behind += 1
            if behind == 2:
                break
    counts = [str(kept.get(interim, "none")) for interim in (True, False)]
    return [
        *rows,
        "",
        f"The most tracks that one core kept up with: {counts[0]} with partials, {counts[1]} without.",
    ]


def row(load: Load) -> str:
    figures = [
        "yes" if load.interim else "no",
        str(load.tracks),
        f"{load.worker_cpu_s / load.audio_s:.3f}",
        f"{load.server_cpu_s / load.audio_s:.4f}",
        f"{percentile(load.partial_ms, 50):.0f}",
        f"{percentile(load.partial_ms, 95):.0f}",
        f"{percentile(load.final_ms, 50):.0f}",
        f"{percentile(load.final_ms, 95):.0f}",
        f"{load.partials / load.speech_s:.1f}",
        f"{load.lost} of {load.lost + len(load.final_ms)}",
        str(load.dropped_ms),
        f"{max(sample.worker_mib for sample in load.memory):.0f}",
        f"{100 * load.others_share:.0f}",
    ]
    return f"| {' | '.join(figures)} |"


def origins(sets: list[Set]) -> list[str]:
    return [f"- {one.name}: {len(one.clips)} clips, {one.seconds:.0f} s, from {one.origin}" for one in sets]


def renew_page(tables: dict[str, list[str]]) -> None:
    """Put each table between its two marks in the reference page."""
    page = PAGE.read_text("utf-8")
    for name, rows in tables.items():
        text = "\n".join(rows)
        page, found = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda marks, text=text: f"{marks[1]}{text}\n{marks[2]}",
            page,
            flags=re.DOTALL,
        )
        assert found == 1, f"the page has one place for {name}"
    PAGE.write_text(page, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accuracy", action="store_true", help="word errors only: a minute and a half")
    parser.add_argument("--load", action="store_true", help="delay and load only")
    parser.add_argument("--no-page", action="store_true", help="leave the reference page as it is")
    options = parser.parse_args()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("onnxruntime", "moonshine-voice"))
    where = [*report.provenance("on loopback").splitlines(), f"engine: local (Moonshine tiny-en), {versions}"]
    sets = list(every_set())
    tables: dict[str, list[str]] = {}
    if not options.load:
        tables["accuracy"] = accuracy(sets)
        print("\n".join(tables["accuracy"]), flush=True)
    if not options.accuracy:
        tables["load"] = asyncio.run(load_rows(sets))
    lines_of_all = [line for rows in tables.values() for line in rows]
    report.keep("speech.txt", [*where, *origins(sets), *lines_of_all])
    if not options.no_page:
        taken = [f"Taken {where[0]}, on {where[1]}; {versions}."]
        renew_page(
            {**{name: [*taken, "", *rows] for name, rows in tables.items()}, "material": origins(sets)}
        )


if __name__ == "__main__":
    main()
