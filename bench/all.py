"""Every benchmark of calls, one after the other: `python bench/all.py`, half an hour; `--quick`, ten minutes.

Figures mean something on a machine that does nothing else meanwhile.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
QUICK = ["--turns", "1", "--seconds", "10"]
CALLS = ["calls.py", "--calls", "100,200"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one turn of 10 s in place of three of 15 s")
    shorter = QUICK if parser.parse_args().quick else []
    runs = [
        [*CALLS, "--case", "echo", "--case", "both", "--case", "stream", "--case", "fork", *shorter],
        [*CALLS, "--case", "echo", "--case", "both", "--busy", "--setup-calls", "0", *shorter],
        ["pressure.py"],
        ["talk.py"],
        ["commands.py", "--rate", "50", "--rate", "200", *(["--seconds", "10"] if shorter else [])],
    ]
    for program, *words in runs:
        print(f"\nbench/{program} {' '.join(words)}", flush=True)
        subprocess.run([sys.executable, HERE / program, *words], check=True)


if __name__ == "__main__":
    main()
