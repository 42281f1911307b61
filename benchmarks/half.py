"""What bfloat16 gains: rows that say of which processor they are, and what it has for it.

``python -m benchmarks.half bfloat16`` prints the peak memory of one training step in it, in MiB.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from benchmarks import rows
from benchmarks.memory import peak_during
from benchmarks.row import Row
from benchmarks.timing import interleaved
from benchmarks.training import CPU, Scale, Training, deterministic, fractal_net, images
from jfractal.ops.processor import processor

__all__ = ["ROWS", "where_there_are_units"]

HALF, SINGLE = "bfloat16", "float32"


def where_there_are_units(row: Row) -> Row:
    """The row; on a processor without matrix units it has nothing to reach, and says so."""
    if jax.default_backend() != "cpu":
        return row
    if processor().arithmetic == "amx_bf16":
        return replace(row, unit=f"{row.unit}, {processor()}")
    unit = f"{row.unit}, no matrix units: {processor()}"
    return replace(row, at_least=None, at_most=None, unit=unit)


def _step(scale: Scale, dtype: Any) -> Training:
    scale = replace(scale, dtype=np.dtype(dtype))
    net = fractal_net(scale, widths=scale.paper_widths)
    return Training(deterministic(net), net, images(scale.batch))


def fractal_step(scale: Scale) -> Row:
    """Images a second in training the paper's net in bfloat16, in those in float32."""
    times = interleaved(
        {"ours": _step(scale, HALF), "other": _step(scale, SINGLE)}, budget=scale.budget
    )
    ours, other = (float(np.median(scale.batch / times[who])) for who in ("ours", "other"))
    ratio = float(np.median(times["other"] / times["ours"]))
    name = "fractal_step_bf16_vs_float32"
    return where_there_are_units(Row(name, ours, other, ratio, "images/s", at_least=2.0))


def conv_vmap_grad(scale: Scale) -> Row:
    """The gradient of 8 vmapped convolutions in bfloat16, in gradients of 8 single ones."""
    row = rows.conv_vmap_grad(replace(scale, dtype=np.dtype(HALF)))
    return where_there_are_units(replace(row, name="conv_vmap_grad_bf16", at_most=1.1))


def step_memory(_: Scale) -> Row:
    """Peak memory of a training step in bfloat16, in that in float32; each in its own process."""
    half, single = map(_peak_memory, (HALF, SINGLE))
    row = Row("step_memory_bf16_vs_float32", half, single, half / single, "MiB", at_most=0.6)
    return where_there_are_units(row)


def _peak_memory(dtype: str) -> float:
    command = [sys.executable, "-m", "benchmarks.half", dtype]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


ROWS: dict[str, Callable[[Scale], Row]] = {
    "fractal_step_bf16_vs_float32": fractal_step,
    "conv_vmap_grad_bf16": conv_vmap_grad,
    "step_memory_bf16_vs_float32": step_memory,
}


def main(dtype: str) -> None:
    """Prints the peak of a step that is compiled already, beyond what there was before it."""
    step = _step(CPU, dtype)
    step()
    print(peak_during(step))


if __name__ == "__main__":
    main(sys.argv[1])
