"""How throughput and memory grow, beside what the topology says that a pass costs.

    python -m benchmarks.scaling [DIRECTORY]

Measures along five axes and leaves ``scaling.json`` and a picture for each axis in the directory,
``benchmarks/results`` if none is named: draws and devices of a prediction; batch, width and columns
of a training step. Every point is a process of its own. The cost model is the net's `num_flops`
at one arithmetic rate for all points of an axis, the median of what was measured.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

import jfractal as jf
from benchmarks.memory import peak_during
from benchmarks.row import versions
from benchmarks.timing import seconds
from benchmarks.training import NUM_CLASSES, Training, deterministic, images
from jfractal.viz.style import INK, PALETTE, styled

__all__ = ["AXES", "Point"]

WIDTHS = (16, 32, 64)
BATCH, NUM_IMAGES, NUM_SAMPLES = 32, 64, 16
BACKWARD = 3  # passes' worth of arithmetic in a training step: forward, and two gradients
ROUNDS = 5


@dataclass(frozen=True)
class Point:
    """What was measured at one place of an axis.

    Attributes:
        value: Where.
        seconds: Of one call.
        images: Passes of an image through a net in a call.
        gflop: Of a call, by the cost model.
        mib: Memory of the process at its peak during a call, beyond what it held before.
    """

    value: float
    seconds: float
    images: int
    gflop: float
    mib: float


def _measured(value: float, call: Callable[[], Any], flops: int, num_images: int) -> Point:
    call()
    mib = peak_during(call)
    time = float(np.median([seconds(call) for _ in range(ROUNDS)]))
    return Point(value, time, num_images, flops * num_images / 1e9, mib)


def _training(value: float, widths: Sequence[int], columns: int, batch: int) -> Point:
    net = jf.FractalNet(NUM_CLASSES, columns=columns, widths=tuple(widths))
    step = Training(deterministic(net), net, images(batch))
    return _measured(value, step, BACKWARD * net.num_flops((32, 32, 3)), batch)


def _prediction(value: float, num_samples: int, num_devices: int) -> Point:
    jax.config.update("jax_num_cpu_devices", num_devices)
    x, _ = images(NUM_IMAGES)
    net = jf.FractalNet(NUM_CLASSES, widths=WIDTHS, conv=jf.BayesConv, norm="group")
    posterior = jf.MeanField(jax.jit(net.init)(jax.random.key(0), x[:1])["params"])
    mesh = jax.make_mesh((num_devices,), ("samples",)) if num_devices > 1 else None

    def call() -> None:
        p = jf.predict(
            net.apply, posterior, x, jax.random.key(0), num_samples=num_samples, mesh=mesh
        )
        jax.block_until_ready(p)

    return _measured(value, call, net.num_flops((32, 32, 3)), num_samples * NUM_IMAGES)


def samples(value: int) -> Point:
    """Draws of the weights in a prediction."""
    return _prediction(value, value, 1)


def devices(value: int) -> Point:
    """Forced devices that share the draws of a prediction, on the same cores."""
    return _prediction(value, NUM_SAMPLES, value)


def batch(value: int) -> Point:
    """Images in a training step."""
    return _training(value, WIDTHS, 3, value)


def width(value: int) -> Point:
    """Channels of the first block in a training step; twice and four times as many follow."""
    return _training(value, (value, 2 * value, 4 * value), 3, BATCH)


def columns(value: int) -> Point:
    """Columns of every block in a training step."""
    return _training(value, WIDTHS[:2], value, BATCH)


AXES: dict[str, tuple[Callable[[int], Point], tuple[int, ...]]] = {
    "samples": (samples, (1, 4, 16, 64, 256)),
    "devices": (devices, (1, 2, 4, 8)),
    "batch": (batch, (4, 16, 64, 256)),
    "width": (width, (4, 8, 16, 32, 64)),
    "columns": (columns, (1, 2, 3, 4, 5, 6)),
}


def _in_a_process(axis: str, value: int) -> Point:
    command = [sys.executable, "-m", "benchmarks.scaling", "--point", axis, str(value)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Point(**json.loads(out.splitlines()[-1]))


@styled
def picture(axis: str, about: str, points: Sequence[Point]) -> Figure:
    """Throughput with the cost model's, and memory."""
    x = [p.value for p in points]
    rate = np.median([p.gflop / p.seconds for p in points])
    figure = Figure(figsize=(6.4, 2.4), layout="constrained")
    figure.suptitle(about, size=8)
    speed, memory = figure.subplots(1, 2)
    model = [rate * p.images / p.gflop for p in points]
    speed.plot(x, model, color=INK, linestyle="--", label=f"model at {rate:.0f} GFLOP/s")
    speed.plot(x, [p.images / p.seconds for p in points], "o-", color=PALETTE[0], label="measured")
    speed.set(ylabel="images/s", yscale="log")
    least, most = speed.get_ylim()
    speed.set_ylim(least / 2, most * 2)  # so that noise does not look like a slope
    speed.yaxis.set(
        major_locator=LogLocator(subs=(1, 2, 5)),
        minor_locator=NullLocator(),
        major_formatter="{x:g}",
    )
    speed.legend()
    mib = [p.mib for p in points]
    memory.plot(x, mib, "o-", color=PALETTE[1])
    memory.set(ylabel="memory of a call, MiB", ylim=(0, 1.1 * max(mib)))
    for axes in (speed, memory):
        axes.set(xlabel=axis, xscale="log", xticks=x, xticklabels=[f"{value:g}" for value in x])
        axes.xaxis.set_minor_locator(NullLocator())
    return figure


def main(directory: Path) -> None:
    """Measures all axes, printing points as they come."""
    directory.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"device": jax.devices()[0].device_kind, "versions": versions()}
    for axis, (measure, values) in AXES.items():
        points = []
        for value in values:
            points.append(_in_a_process(axis, value))
            print(axis, points[-1], flush=True)
        found[axis] = [asdict(point) for point in points]
        about = (measure.__doc__ or "").removesuffix(".")
        picture(axis, about, points).savefig(directory / f"{axis}.png", dpi=150)
    (directory / "scaling.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--point", axis, value]:
            print(json.dumps(asdict(AXES[axis][0](int(value)))))
        case arguments:
            main(Path(*arguments or ["benchmarks/results"]))
