"""The processor: its name, and its arithmetic for bfloat16."""

import platform
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Processor", "processor"]

# The widest arithmetic of a processor says more of its speed than the name that a cloud gives it.
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")


class Processor(NamedTuple):
    """A processor.

    Attributes:
        name: The name that the processor reports.
        arithmetic: The widest arithmetic that it has: ``amx_bf16`` (matrix units), ``avx512_bf16``
            (products of pairs in vector registers), ``avx512f``, ``avx2``, or the name of its
            architecture.
    """

    name: str
    arithmetic: str

    @property
    def has_bfloat16(self) -> bool:
        """Whether it has arithmetic for bfloat16."""
        return self.arithmetic.endswith("_bf16")

    def __str__(self) -> str:
        return f"{self.name} ({self.arithmetic})"


@cache
def processor() -> Processor:
    """The processor of this machine, as Linux describes it; on other systems, only its name."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (s.partition(":") for s in lines)}
    flags = fields.get("flags", "").split()
    widest = next((name for name in INSTRUCTIONS if name in flags), platform.machine())
    return Processor(fields.get("model name", platform.processor() or "unknown processor"), widest)
