"""What an accelerator does with jfractal: tests, rows in bfloat16, draws, and a training.

    python -m benchmarks.gpu [--tiny] [--json FILE]

`make gpu-check` runs it. Rows and tests have a limit each, and the training has what is left of
eight minutes. The file is written anew after every row, so an interruption keeps what there is.
"""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import numpy as np
import tyro

import jfractal as jf
from benchmarks import by_hand, rows
from benchmarks.elsewhere import Elsewhere
from benchmarks.row import HEADER, Row, device, versions, write_json
from benchmarks.timing import interleaved, seconds
from benchmarks.training import (
    ACCELERATOR,
    TINY,
    Scale,
    Training,
    deterministic,
    fractal_net,
    images,
)

__all__ = ["PARTS"]

Figures = dict[str, Any]

# Seconds after which no row begins, that tests may take, and that everything may take.
ROWS, TESTS, ALL = 100, 90, 460

# What depends on the platform. Devices side by side have tests of their own, on CPU.
SLICE = ["tests/ops", "tests/nn/test_estimators.py", "tests/nn/test_norms.py", "tests/predict"]
ONE_DEVICE = "not mesh and not device and not shard"
TINY_SLICE = ["tests/ops/test_pool.py"]


@dataclass(frozen=True)
class Options:
    """How much to check."""

    tiny: bool = False
    """Nets of a few channels, on any platform: proves that all parts run; figures mean nothing."""
    json: Path = Path("benchmarks/results/gpu.json")
    """File for what was found."""


def tests(scale: Scale, _: float) -> Iterator[Figures]:
    """The operations' tests and a slice of the others, with products in full precision."""
    paths = TINY_SLICE if scale is TINY else SLICE
    command = [sys.executable, "-m", "pytest", "-q", "-k", ONE_DEVICE, "-m", "not slow", *paths]
    environment = os.environ | {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    out, ended = _limited(command, _limit(scale, TESTS), environment)
    counts = {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|errors?)", out)}
    if not counts:
        raise RuntimeError(f"pytest counted nothing: {_last_line(out)}")
    yield {"all": ended, **counts, "which": re.findall(r"^(?:FAILED|ERROR) (\S+)", out, re.M)}


def measured(scale: Scale, _: float) -> Iterator[Figures]:
    """Rows of the benchmark; none begins after the limit."""
    began = perf_counter()
    names = ("bbb_step_reparam", "ensemble_step", "mc_predict", "fractal_step_drop_path")
    chosen: dict[str, Callable[[Scale], Row]] = {
        "gpu_utilisation": partial(rows.utilisation, "gpu_utilisation", None),
        "fractal_step_vs_pytorch": beside_pytorch,
        **{name: rows.ROWS[name] for name in names},
        **by_hand.ROWS,
        "conv_vmap_grad": rows.conv_vmap_grad,
    }
    for name, row in chosen.items():
        if perf_counter() - began > _limit(scale, ROWS):
            yield {name: "not reached"}
        elif name == "fractal_step_vs_pytorch" and not importlib.util.find_spec("torch"):
            yield {name: "PyTorch is not installed"}
        else:
            try:
                found = row(scale)
            except Exception as error:  # the other rows are worth having
                yield {name: f"{type(error).__name__}: {error}", "failed": True}
            else:
                print(found, flush=True)
                yield {name: found}


def beside_pytorch(scale: Scale) -> Row:
    """Images a second in training the paper's net, in those of PyTorch, compiled."""
    from benchmarks.torch_net import compiled_training  # here, since few have PyTorch

    net = fractal_net(scale, widths=scale.paper_widths)
    ours = Training(deterministic(net), net, images(scale.batch))
    num_weights = sum(np.size(leaf) for leaf in jax.tree.leaves(ours.state.params))
    with Elsewhere(partial(compiled_training, scale), num_weights) as other:
        times = interleaved({"ours": ours, "other": other}, budget=scale.budget)
    rates = {who: float(np.median(scale.batch / times[who])) for who in times}
    ratio = float(np.median(times["other"] / times["ours"]))
    name = "fractal_step_vs_pytorch"
    return Row(name, rates["ours"], rates["other"], ratio, "images/s", at_least=1.0)


def draws(scale: Scale, _: float) -> Iterator[Figures]:
    """Passes of an image through a net, a second, over the number of draws of a prediction."""
    x = images(scale.num_images)[0]
    net = fractal_net(scale, jf.BayesConv, norm="group")
    posterior = jf.MeanField(jax.jit(net.init)(jax.random.key(0), x[:1])["params"])
    for num_samples in (1, 8, 64, 256):

        def call(num_samples: int = num_samples) -> None:
            key = jax.random.key(0)
            jax.block_until_ready(jf.predict(net.apply, posterior, x, key, num_samples=num_samples))

        call()
        time = float(np.median([seconds(call) for _ in range(3)]))
        rate = num_samples * scale.num_images / time
        print(f"{num_samples:4} draws: {rate:10.0f} images/s", flush=True)
        yield {str(num_samples): rate}


def training(scale: Scale, left: float) -> Iterator[Figures]:
    """`cifar_fractal --preset gpu`: accuracy of the whole net and of each column, and its time."""
    flags = ["--quick"] if scale is TINY else ["--preset", "gpu"]
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory, "run")
        command = [sys.executable, "-m", "experiments", "cifar_fractal", "--out", str(out), *flags]
        said, ended = _limited(command, _limit(scale, left), dict(os.environ))
        if not (out / "result.json").exists():
            raise RuntimeError(_last_line(said) if ended else f"not done after {left:.0f} s")
        result = json.loads((out / "result.json").read_text())
    for name, figure in result.items():
        print(f"{name:40} {figure}", flush=True)
    yield result


PARTS: dict[str, Callable[[Scale, float], Iterator[Figures]]] = {
    "rows": measured,
    "draws": draws,
    "tests": tests,
    "training": training,
}


def _limit(scale: Scale, limit: float) -> float:
    """Seconds of a part; the trial of all parts is allowed to be slow."""
    return 3600 if scale is TINY else limit


def _limited(command: list[str], limit: float, environment: dict[str, str]) -> tuple[str, bool]:
    """What a command printed, and whether it ended by itself within so many seconds."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            return process.communicate(timeout=limit)[0], True
        except KeyboardInterrupt:
            process.kill()
            raise
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # upon which pytest counts what it has
        try:
            return process.communicate(timeout=20)[0], False
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0], False


def _last_line(out: str) -> str:
    return out.strip().splitlines()[-1] if out.strip() else "no output"


def main(options: Options) -> int:
    """Runs all parts; returns 0, or 1 if one failed, or 2 where there is no accelerator."""
    # PyTorch and the processes of tests and training need memory beside this one.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if jax.default_backend() == "cpu" and not options.tiny:
        print("error: JAX finds no accelerator here; TINY=1 tries everything", file=sys.stderr)
        return 2
    found: Figures = {"device": device(), "tiny": options.tiny, "versions": versions()}
    failed, start = False, perf_counter()
    for name, part in PARTS.items():
        found[name], began = {}, perf_counter()
        print(f"\n{name}: {(part.__doc__ or '').splitlines()[0]}", flush=True)
        if name == "rows":
            print(HEADER, flush=True)
        try:
            left = ALL - (perf_counter() - start)
            for figures in part(TINY if options.tiny else ACCELERATOR, left):
                found[name] |= figures
                write_json(found, options.json)
            failed |= bool(found[name].get("failed"))
        except Exception as error:  # the other parts are worth having
            found[name]["error"], failed = f"{type(error).__name__}: {error}", True
        found[name]["seconds"] = round(perf_counter() - began, 1)
        write_json(found, options.json)
        print(f"{name}: {_summary(found[name])}", flush=True)
    return int(failed)


def _summary(figures: Figures) -> str:
    shown = {k: v for k, v in figures.items() if isinstance(v, int | float | str)}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(tyro.cli(Options, description=__doc__)))
    sys.exit(130)
