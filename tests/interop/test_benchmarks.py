"""Benchmarks are run by hand, so what they need of the server may go unnoticed: each must at least start."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="needs the extra offhook[speech]")
pytestmark = pytest.mark.interop

BENCH = Path(__file__).parents[2] / "bench"


@pytest.mark.parametrize("program", sorted(path.name for path in BENCH.glob("*.py")))
def test_a_benchmark_says_what_it_measures(program: str) -> None:
    told = subprocess.run(
        [sys.executable, BENCH / program, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "usage" in told.stdout
