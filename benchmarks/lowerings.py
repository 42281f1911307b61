"""``python -m benchmarks.lowerings``: what bfloat16 takes on this processor, in times of float32.

One line for each convolution or dense layer and each of its three results: as XLA does it by
itself, by either candidate of `jfractal.ops.half`, and which of them is chosen here. Seconds are of
the processor, not of the clock, so that what else runs does not count; with ``taskset -c 0`` they
are those of one core.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import jax
import numpy as np
import tyro
from jax import lax

from benchmarks.row import device, versions, write_json
from jfractal import ops
from jfractal.ops import half, lowering
from jfractal.ops.dot import NO_SPACE
from jfractal.ops.lowering import ROLES, ConvSpec, Role

__all__ = ["Layer", "Line", "measured"]

RESULTS: dict[Role, str] = {"g": "output", "x": "input gradient", "w": "kernel gradient"}
CANDIDATES = {"XLA": lowering.on_cpu, "single": half.single, "products": half.products}
ROUNDS = 7


@dataclass(frozen=True)
class Layer:
    """Sizes of a layer: a convolution of stride 1, or without pixels a dense layer."""

    images: int
    pixels: int | None
    window: int
    inputs: int
    outputs: int

    def __str__(self) -> str:
        features = f"{self.inputs} → {self.outputs}, {self.images} examples"
        if self.pixels is None:
            return f"dense, {features}"
        return f"{self.window}×{self.window} on {self.pixels}×{self.pixels}, {features}"

    @property
    def shapes(self) -> dict[Role, tuple[int, ...]]:
        """The shapes of the input, the kernel and the output."""
        space = () if self.pixels is None else (self.pixels,) * 2
        window = (self.window,) * len(space)
        x, g = ((self.images, *space, n) for n in (self.inputs, self.outputs))
        return {"x": x, "w": (*window, self.inputs, self.outputs), "g": g}

    @property
    def spec(self) -> ConvSpec:
        """Its settings."""
        if self.pixels is None:
            return ConvSpec((), (), (), (), NO_SPACE, 1, 1, None, None)
        shapes = self.shapes
        numbers = lax.conv_dimension_numbers(shapes["x"], shapes["w"], ("NHWC", "HWIO", "NHWC"))
        ones, side = (1, 1), (self.window // 2, self.window // 2)
        return ConvSpec(ones, (side, side), ones, ones, numbers, 1, 1, None, None)


LAYERS = (
    Layer(32, 32, 3, 3, 64),
    Layer(32, 32, 3, 64, 64),
    Layer(32, 16, 3, 32, 32),
    Layer(32, 16, 3, 128, 128),
    Layer(32, 16, 3, 256, 256),
    Layer(32, 8, 3, 256, 256),
    Layer(32, 4, 3, 512, 512),
    Layer(32, 2, 3, 512, 512),
    Layer(32, 8, 1, 256, 256),
    Layer(128, None, 1, 784, 400),
    Layer(256, None, 1, 400, 400),
)


@dataclass(frozen=True)
class Line:
    """What one result of a layer takes.

    Attributes:
        layer: In words.
        result: Which of the three.
        seconds: In float32.
        ratios: In bfloat16 by each candidate, in times of these.
        chosen: The candidate that is taken on this processor.
    """

    layer: str
    result: str
    seconds: float
    ratios: dict[str, float]
    chosen: str
    device: str = field(default_factory=device)
    versions: dict[str, str] = field(default_factory=versions)

    def __str__(self) -> str:
        ratios = " ".join(f"{ratio:9.2f}" for ratio in self.ratios.values())
        times = f"{1e3 * self.seconds:9.2f} {ratios}"
        return f"{self.layer:36} {self.result:16} {times}  {self.chosen}"


def measured(layer: Layer, result: Role, rounds: int = ROUNDS) -> Line:
    """One line, its runs in turns."""
    spec, shapes = layer.spec, layer.shapes
    arrays = [jax.random.normal(jax.random.key(0), shapes[r]) for r in ROLES if r != result]

    def run(lower: Callable, dtype: Any) -> Callable[[], Any]:
        like = jax.ShapeDtypeStruct(shapes[result], dtype)
        compiled, args = (
            ops.jit(partial(lower, spec, result, like)),
            [a.astype(dtype) for a in arrays],
        )
        return lambda: jax.block_until_ready(compiled(*args))

    runs = {"float32": run(lowering.on_cpu if spec.strides else lowering.on_accelerator, "float32")}
    natural = {} if spec.strides else {"XLA": lowering.on_accelerator}
    runs |= {name: run(lower, "bfloat16") for name, lower in (CANDIDATES | natural).items()}
    for function in runs.values():
        function()
    times = {name: min(seconds) for name, seconds in zip(runs, _in_turns(runs, rounds))}
    base = times.pop("float32")
    chosen = half.choose(spec, result, shapes).__name__
    ratios = {name: time / base for name, time in times.items()}
    return Line(str(layer), RESULTS[result], base, ratios, chosen)


def _in_turns(runs: dict[str, Callable[[], Any]], rounds: int) -> np.ndarray:
    """Seconds of the processor, "runs rounds"."""
    seconds = np.zeros((len(runs), rounds))
    for number, (i, function) in product(range(rounds), enumerate(runs.values())):
        began = process_time()
        function()
        seconds[i, number] = process_time() - began
    return seconds


@dataclass(frozen=True)
class Options:
    """What to keep."""

    json: Path | None = None
    """File for the lines."""


def main(options: Options) -> int:
    """Measures line by line, printing as they come; returns the exit code."""
    if jax.default_backend() != "cpu":
        print("error: these are choices for a CPU: set JAX_PLATFORMS=cpu", file=sys.stderr)
        return 2
    print(f"{device()}, jax {jax.__version__}")
    print(
        f"{'layer':36} {'result':16} {'float32, ms':>9} {' '.join(f'{n:>9}' for n in CANDIDATES)}"
    )
    found: list[Line] = []
    for layer, result in product(LAYERS, RESULTS):
        found.append(measured(layer, result))
        print(found[-1], flush=True)
        if options.json is not None:
            write_json(found, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
