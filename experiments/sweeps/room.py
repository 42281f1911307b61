"""How many members of a sweep find room on this machine."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
PLATFORM = "import jax; print(jax.default_backend())"


@dataclass(frozen=True)
class Needs:
    """What one member needs.

    Attributes:
        cores: Processor cores, at least.
        memory: Gigabytes of main memory.
    """

    cores: int
    memory: float


def slots(needs: Needs, num_members: int) -> list[set[int]]:
    """The cores of each member that runs at a time: all cores, in equal parts.

    On an accelerator one member runs at a time, because a program takes the memory of all of it.

    Args:
        needs: Of one member.
        num_members: Never more places than members.

    Returns:
        One set for each place, at least one.
    """
    cores = _cores()
    most = [num_members, len(cores) // needs.cores]
    if (free := free_memory()) is not None:
        most.append(int(free / (needs.memory * 1e9)))
    number = max(1, min(most)) if _is_on_cpu() else 1
    share = len(cores) // number
    return [set(cores[i * share : (i + 1) * share]) for i in range(number)]


def free_memory() -> int | None:
    """Bytes that can be taken, also by the limit of a container; None where nobody says."""
    free = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        free.append(int(line.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        limit, used = (
            int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
        free.append(limit - used)
    return min(free, default=None)


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return [*range(os.cpu_count() or 1)]


def _is_on_cpu() -> bool:
    """Asked of another process: this one must not take an accelerator that members need."""
    if os.environ.get("JAX_PLATFORMS", "").partition(",")[0] == "cpu":
        return True
    asked = subprocess.run([sys.executable, "-c", PLATFORM], capture_output=True, text=True)
    return asked.returncode != 0 or asked.stdout.strip() == "cpu"
