"""Where and when a figure was taken, and where it is kept."""

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from rig import accounts

BENCH = Path(__file__).parent.parent
RESULTS = BENCH / "results"


def provenance(where: str) -> str:
    """Date, commit, machine, command."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=BENCH, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--", "../src", "../crates") else ""
    now = datetime.datetime.now(datetime.UTC)
    return (
        f"{now:%Y-%m-%d %H:%M} UTC, commit {git('rev-parse', '--short', 'HEAD') or 'unknown'}{changed}\n"
        f"{accounts.cpu_model()}, {os.cpu_count()} cores, Linux {platform.release()},"
        f" Python {platform.python_version()}, {where}\n"
        f"command: bench/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}".rstrip()
    )


def heading(columns: list[str]) -> str:
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def keep(name: str, lines: list[str]) -> None:
    """Print a report and add it to the results of its kind."""
    report = "\n".join(lines)
    print(f"\n{report}")
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / name).open("a") as file:
        file.write(f"{report}\n\n")
