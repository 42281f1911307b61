"""What jfractal costs, in units of what it stands for: one function for each row."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from math import gcd
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC, NUTS

import jfractal as jf
from benchmarks.row import Row
from benchmarks.timing import interleaved, median_ratio, medians, row_of_seconds
from benchmarks.training import (
    NUM_CLASSES,
    Scale,
    Training,
    bayesian,
    deterministic,
    fractal_net,
    images,
)
from jfractal import ops
from jfractal.posterior.gaussian import Estimator

__all__ = ["ROWS"]

KEY = jax.random.key(0)


def conv_vmap_grad(scale: Scale) -> Row:
    """The gradient of 8 vmapped convolutions, in gradients of 8 single ones."""
    num = 8
    width = max(scale.widths) // 4
    x = jax.random.normal(KEY, (num, scale.batch, 16, 16, width), scale.dtype)
    w = jax.random.normal(KEY, (num, 3, 3, width, width), scale.dtype)
    conv = partial(
        ops.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    loss = lambda w, x: jnp.sum(conv(x, w) ** 2)
    single = ops.jit(jax.grad(loss, (0, 1)))
    together = ops.jit(jax.grad(lambda w, x: jax.vmap(loss)(w, x).sum(), (0, 1)))
    pairs = list(zip(w, x))
    times = interleaved(
        {
            "ours": lambda: jax.block_until_ready(together(w, x)),
            "other": lambda: jax.block_until_ready([single(*pair) for pair in pairs]),
        },
        budget=scale.budget,
    )
    return row_of_seconds("conv_vmap_grad", times, at_most=1.2)


def mc_predict(scale: Scale) -> Row:
    """Prediction by 16 networks, their draws included, in deterministic forward passes."""
    num_samples = 16
    x, _ = images(scale.num_images)
    net = fractal_net(scale, jf.BayesConv, norm="group")
    posterior = jf.MeanField(net.init(KEY, x[:1])["params"])
    params = jf.mean(posterior.params)
    forward = ops.jit(net.apply)
    times = interleaved(
        {
            "ours": lambda: jax.block_until_ready(
                jf.predict(net.apply, posterior, x, KEY, num_samples=num_samples)
            ),
            "other": lambda: jax.block_until_ready(forward({"params": params}, x)),
        },
        budget=2 * scale.budget,
    )
    return row_of_seconds("mc_predict", times, per=num_samples, at_most=1.2)


def predict_memory(_: Scale) -> Row:
    """Peak memory of prediction by 256 networks, in that by 16; each in a process of its own."""
    peak = {num: _peak_memory(num) for num in (16, 256)}
    return Row("predict_memory", peak[256], peak[16], peak[256] / peak[16], "MiB", at_most=1.1)


def _peak_memory(num_samples: int) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", str(num_samples)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@cache
def _plain(scale: Scale, widths: tuple[int, ...]) -> Training:
    """The step of a net of points, which others are measured in."""
    net = fractal_net(scale, widths=widths)
    return Training(deterministic(net), net, images(scale.batch))


def _bbb_step(estimator: Estimator, at_most: float, scale: Scale) -> Row:
    net = fractal_net(scale, partial(jf.BayesConv, estimator=estimator))
    ours = Training(bayesian(net), net, images(scale.batch))
    times = interleaved({"ours": ours, "other": _plain(scale, scale.widths)}, budget=scale.budget)
    return row_of_seconds(f"bbb_step_{estimator.partition('_')[0]}", times, at_most=at_most)


def fractal_step_drop_path(scale: Scale) -> Row:
    """A training step with the paper's drop-path, on average, in steps of the joined net.

    Half of the batches run one column alone, each as often; a step's expected time is the mean over
    routes by their probabilities.
    """
    net, batch = fractal_net(scale, widths=scale.paper_widths), images(scale.batch)
    on_route = lambda route: Training(deterministic(net, drop_path=0.15, route=route), net, batch)
    columns = {f"column {c}": on_route(c) for c in net.columns}
    full = _plain(scale, scale.paper_widths)
    times = interleaved({"joined": on_route(0), **columns, "other": full}, budget=scale.budget)
    alone = np.mean([times[column] for column in columns], axis=0)
    times["ours"] = (times["joined"] + alone) / 2
    return row_of_seconds("fractal_step_drop_path", times, at_most=0.72)


def ensemble_step(scale: Scale) -> Row:
    """A step of 8 members at once, in 8 steps of one."""
    num_members, net = 8, fractal_net(scale)
    members = Training(jf.ensemble(deterministic(net), num_members), net, images(scale.batch))
    times = interleaved(
        {"ours": members, "other": _plain(scale, scale.widths)}, budget=scale.budget
    )
    return row_of_seconds("ensemble_step", times, per=num_members, at_most=1.1)


def nuts_chains(_: Scale) -> Row:
    """Gradients a second of 4 chains of NUTS over all devices, in those of one chain on one.

    Chains that share a device are vectorised there; the processor's cores are its devices.
    """
    return _nuts_row("nuts_chains", "over devices", at_least=1.5)


def nuts_chains_on_one_device(_: Scale) -> Row:
    """The same with the 4 chains vectorised on one device."""
    return _nuts_row("nuts_chains_on_one_device", "on one device")


def nuts_vs_numpyro(_: Scale) -> Row:
    """Milliseconds of a gradient of NUTS, in those of plain NumPyro on the same density."""
    ours, other = (1e3 / rate for rate in _nuts_rates("one chain", "plain NumPyro"))
    return Row("nuts_vs_numpyro", ours, other, ours / other, "ms/gradient", at_most=1.05)


def _nuts_row(name: str, chains: str, at_least: float | None = None) -> Row:
    ours, one = _nuts_rates(chains, "one chain")
    return Row(name, ours, one, ours / one, "gradients/s", at_least=at_least)


NUM_WARMUP, MAX_TREE_DEPTH = 50, 7


def _nuts_rates(*names: str) -> list[float]:
    """Gradients a second of one chain, of 4 in either way, or of one by NumPyro itself."""
    model, data, starts = _small_posterior()
    all_devices = jax.devices()[: gcd(4, jax.device_count())]

    def chains(num_chains: int, devices: Any, num_draws: int) -> float:
        chains = jf.nuts(
            model,
            data,
            KEY,
            starts=starts,
            num_chains=num_chains,
            num_warmup=NUM_WARMUP,
            num_draws=num_draws,
            max_tree_depth=MAX_TREE_DEPTH,
            devices=devices,
        )
        return chains.diagnostics["num_gradients"]

    def plain(num_draws: int) -> float:
        energy = lambda params: -model.log_joint(params, data)
        kernel = NUTS(potential_fn=energy, max_tree_depth=MAX_TREE_DEPTH)
        mcmc = MCMC(kernel, num_warmup=NUM_WARMUP, num_samples=num_draws, progress_bar=False)
        mcmc.run(KEY, init_params=starts(KEY), extra_fields=("num_steps",))
        return float(mcmc.get_extra_fields()["num_steps"].sum())

    ways: dict[str, Callable[[int], float]] = {
        "one chain": partial(chains, 1, None),
        "over devices": partial(chains, 4, all_devices),
        "on one device": partial(chains, 4, all_devices[:1]),
        "plain NumPyro": plain,
    }
    gradients: dict[tuple[str, int], float] = {}

    def sample(way: str, num_draws: int) -> None:
        gradients[way, num_draws] = ways[way](num_draws)

    # A longer run of the same chains takes longer by its draws alone, not by what it compiles. That
    # takes seconds and varies by tenths, so the draws must take many.
    lengths = (50, 650)
    runs = {(way, n): partial(sample, way, n) for way in names for n in lengths}
    seconds = medians(interleaved(runs, budget=0, min_rounds=3))
    more = lambda of, way: of[way, lengths[1]] - of[way, lengths[0]]
    return [more(gradients, way) / more(seconds, way) for way in names]


def _small_posterior() -> tuple[jf.Model, Any, Callable]:
    """A fractal net of dense units on 200 examples of noise."""
    x = jax.random.normal(KEY, (200, 64))
    y = jax.random.randint(KEY, (200,), 0, NUM_CLASSES)
    unit = partial(jf.nn.DenseUnit, dense=jf.BayesDense)
    net = jf.FractalNet(NUM_CLASSES, columns=3, widths=(8,), unit=unit, norm="none")
    prior, likelihood = jf.priors.FanIn(2.0), jf.likelihoods.Categorical()
    model = jf.Model(net.apply, prior=prior, likelihood=likelihood)
    return model, (x, y), lambda key: jf.mean(net.init(key, x[:1])["params"])


def compile_depth(scale: Scale) -> Row:
    """Seconds to compile a training step of 7 columns, in those of 4."""
    deep, shallow = (_seconds_to_compile(scale, columns) for columns in (7, 4))
    return Row("compile_depth", deep, shallow, deep / shallow, "s", at_most=4)


def _seconds_to_compile(scale: Scale, columns: int) -> float:
    net, batch = fractal_net(scale, columns=columns, widths=(8,)), images(4, size=8)
    training = Training(deterministic(net), net, batch)
    began = perf_counter()
    training()
    return perf_counter() - began


def utilisation(name: str, at_least: float | None, scale: Scale) -> Row:
    """Arithmetic rate of a training step of the paper's net, in that of a matrix product."""
    net, (x, _) = fractal_net(scale, widths=scale.paper_widths), images(scale.batch)
    forward = sum(sum(units.values()) for units in net.unit_flops(x.shape[1:]).values())
    a = jax.random.normal(KEY, (scale.matrix, scale.matrix), scale.dtype)
    matmul = jax.jit(jnp.matmul)
    times = interleaved(
        {
            "ours": _plain(scale, scale.paper_widths),
            "other": lambda: matmul(a, a).block_until_ready(),
        },
        budget=scale.budget,
    )
    flops = {"ours": 3 * forward * scale.batch, "other": 2 * scale.matrix**3}
    rates = {who: flops[who] / times[who] / 1e9 for who in flops}
    ours, other = (float(np.median(rates[who])) for who in ("ours", "other"))
    ratio = median_ratio(rates["ours"], rates["other"])
    return Row(name, ours, other, ratio, "GFLOP/s", at_least=at_least)


ROWS: dict[str, Callable[[Scale], Row]] = {
    "conv_vmap_grad": conv_vmap_grad,
    "mc_predict": mc_predict,
    "predict_memory": predict_memory,
    "bbb_step_reparam": partial(_bbb_step, "reparam", 1.35),
    "bbb_step_flipout": partial(_bbb_step, "flipout", 2.2),
    "bbb_step_local": partial(_bbb_step, "local_reparam", 2.2),
    "fractal_step_drop_path": fractal_step_drop_path,
    "ensemble_step": ensemble_step,
    "nuts_chains": nuts_chains,
    "nuts_chains_on_one_device": nuts_chains_on_one_device,
    "nuts_vs_numpyro": nuts_vs_numpyro,
    "compile_depth": compile_depth,
    "flop_utilisation": partial(utilisation, "flop_utilisation", 0.7),
}
