"""What processes have cost so far, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def _stat(pid: int) -> list[str]:
    """The fields of a process after its name, or nothing when it has gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for other in _pids():
        fields = _stat(other)
        if fields:
            children.setdefault(int(fields[1]), []).append(other)
    found = [pid]
    for member in found:
        found.extend(children.get(member, []))
    return found


def cpu_s(pids: list[int]) -> float:
    """User and system time of all threads of these processes."""
    stats = [fields for fields in map(_stat, pids) if fields]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS_PER_S


def resident_kib(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
    return total


def threads(pids: list[int]) -> int:
    return sum(len(list((PROC / str(pid) / "task").iterdir())) for pid in pids)


@dataclass(frozen=True)
class Machine:
    """The machine so far: time the host stole, and the run time of every process."""

    stolen_s: float
    ran_s: dict[int, float]

    @classmethod
    def now(cls) -> "Machine":
        first = (PROC / "stat").read_text().partition("\n")[0].split()
        return cls(int(first[8]) / TICKS_PER_S, {pid: cpu_s([pid]) for pid in _pids()})

    def stolen_since(self, earlier: "Machine") -> float:
        return self.stolen_s - earlier.stolen_s

    def others_since(self, earlier: "Machine", ours: list[int]) -> float:
        """What processes other than ours used; exact run times, as ticks would be sampled in step with us."""
        spent = {pid: ran - earlier.ran_s.get(pid, 0.0) for pid, ran in self.ran_s.items()}
        return sum(max(0.0, s) for pid, s in spent.items() if pid not in ours)


def busy_s() -> float:
    """What all cores did so far, processes that have ended included."""
    first = (PROC / "stat").read_text().partition("\n")[0].split()
    user, nice, system, _idle, _waiting, irq, soft_irq = map(int, first[1:8])
    return (user + nice + system + irq + soft_irq) / TICKS_PER_S


def cpu_model() -> str:
    lines = (PROC / "cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"
