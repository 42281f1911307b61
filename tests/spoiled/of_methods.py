"""Spoiled calls of the methods of `jfractal.inference`."""

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

import jfractal as jf
from jfractal.inference import PerMember, all_sub_networks, kl_weight
from tests.spoiled.calls import Call
from tests.spoiled.problem import BATCH, KEY, MODEL, NET, PARAMS, SGD, SHIFTED, X, Y

MODELS = {"model": MODEL, "optimizer": SGD}
COUNTS = {"num_warmup": 2, "num_draws": 3, "thinning": 2}
WEIGHTS = "entry negative, entry zero, entry doubled, entry huge, entry half precision"
BATCH_HOLDS = {"batch": "x|targets|outputs", "data": "x|targets|outputs"}
SHAPES = "entry empty, entry a row less, entry a column less, entry an axis more"
# A mass meets the weights only in `init`.
MASSES = "entry doubled, entry huge, entry half precision, entry None, entry a scalar, entry flat"
GAUSSIANS = jf.mean_field(PARAMS)
BLOCKS = jf.FractalNet(3, columns=2, widths=(4,), norm="none")
FRACTAL = jf.fractal_model(BLOCKS, prior=jf.priors.Gaussian(1.0), likelihood=MODEL.likelihood)


def everything(path: str, leaf: jax.Array) -> bool:
    return True


def calls() -> Iterator[Call]:
    yield from _constructors()
    yield from _steps()
    yield from _post_hoc()


def _constructors() -> Iterator[Call]:
    yield Call(jf.maximum_a_posteriori, MODELS)
    yield Call(
        jf.variational,
        MODELS
        | {"num_samples": 2, "kl_weight": 0.5, "scale": 0.1, "where": everything}
        | {"estimator": "reparam"},
        {"kl_weight": "zero, huge, a function"},
    )
    yield Call(
        jf.ivon,
        {"model": MODEL, "learning_rate": 0.1, "num_samples": 2, "kl_weight": 0.5}
        | {"hessian_init": 1.0, "beta1": 0.9, "beta2": 0.99},
        {"learning_rate": "a function, huge", "kl_weight": "huge", "hessian_init": "huge"}
        | {"beta1": "zero", "beta2": "zero"},
    )
    chains = {
        "model": MODEL,
        "learning_rate": 0.1,
        "inverse_mass": jax.tree.map(jax.numpy.ones_like, PARAMS),
        "noise_share": 0.2,
        **COUNTS,
        "temperature": 0.5,
    }
    kept = {
        "learning_rate": "a function, huge, None",
        "inverse_mass": f"None, {MASSES}, {SHAPES}",
        "temperature": "zero, huge",
        "num_warmup": "zero",
    }
    yield Call(jf.sgld, chains, kept)
    yield Call(jf.sghmc, chains | {"momentum": 0.9}, kept | {"momentum": "zero"})
    yield Call(
        jf.smile,
        {"model": MODEL, **COUNTS, "energy_variance": 1e-3, "temperature": 0.5},
        {"energy_variance": "huge", "temperature": "huge"},
    )
    yield Call(
        jf.swag,
        MODELS | {"num_warmup": 2, "thinning": 2, "rank": 3},
        {"num_warmup": "zero"},
    )
    yield Call(
        jf.mc_dropout,
        MODELS | {"rate": 0.1, "num_samples": 2, "where": everything},
        {"rate": "zero"},
    )
    yield Call(
        jf.mc_drop_path,
        {"model": FRACTAL, "optimizer": SGD, "rate": 0.1},
        {"rate": "zero"},
    )
    method = jf.maximum_a_posteriori(MODEL, SGD)
    yield Call(jf.ensemble, {"method": method, "num_members": 2})
    yield Call(lambda used: jf.citation(used), {"used": NET})
    yield Call(
        jf.cosine_cycles, {"learning_rate": 0.1, "cycle_length": 5}, {"learning_rate": "huge"}
    )
    yield Call(kl_weight.blundell, {"num_batches": 5})
    yield Call(kl_weight.warm_up, {"num_steps": 5})
    yield Call(kl_weight.cyclic, {"period": 5, "ramp": 0.5})
    yield Call(
        jf.inference.quarter_period,
        {"scale": 1.0, "temperature": 0.5},
        {"scale": "huge", "temperature": "huge"},
    )


def _steps() -> Iterator[Call]:
    """The three functions of a method, of which each kind of `init` and `update` is one."""
    for method in (
        jf.maximum_a_posteriori(MODEL, SGD),
        jf.variational(MODEL, SGD),
        jf.ivon(MODEL, learning_rate=0.1),
        jf.sghmc(MODEL, learning_rate=0.1, num_draws=2),
        jf.smile(MODEL, num_draws=2),
        jf.swag(MODEL, SGD, rank=2),
        jf.mc_dropout(MODEL, SGD),
        jf.ensemble(jf.maximum_a_posteriori(MODEL, SGD), 2),
    ):
        yield Call(
            method.init,
            {"params": PARAMS, "key": KEY},
            {"params": f"{WEIGHTS}, {SHAPES}, entry a scalar, entry flat, entry None, in a list"},
            name=f"init of {method.name}",
        )
        state = method.init(PARAMS, KEY)
        # Of labels that it maps over, only shapes are known: there the loss is NaN.
        hidden = "part negative, part too large" if method.name == "MC dropout" else ""
        for of, step in (
            (
                "",
                lambda batch, key, num_data, update=method.update, state=state: update(
                    state, batch, key, num_data
                ),
            ),
            (
                " inputs",
                lambda batch, key, num_data, update=method.update, state=state: update(
                    state, (batch, Y), key, num_data
                ),
            ),
        ):
            yield Call(
                step,
                {"batch": X if of else BATCH, "key": KEY, "num_data": 8},
                {
                    "batch": f"{SHIFTED}, {hidden}",
                    "num_data": "None",
                },
                name=f"update{of} of {method.name}",
                may_be_nan=True,
                known_as=BATCH_HOLDS,
            )
    both = jf.ensemble(jf.maximum_a_posteriori(MODEL, SGD), 2)
    started = both.init(PARAMS, KEY)
    yield Call(
        lambda x: both.update(started, PerMember((x, np.stack([Y, Y]))), KEY, 8),
        {"x": np.stack([X, X])},
        {"x": SHIFTED},
        name="update by PerMember",
        may_be_nan=True,
        known_as={"x": "batch|batches|targets|outputs|x"},
    )
    yield Call(
        jf.elbo,
        {"model": MODEL, "params": GAUSSIANS, "batch": BATCH, "key": KEY, "num_data": 8}
        | {"num_samples": 2, "kl_weight": 0.5},
        {"kl_weight": "zero, huge", "params": "entry None"},
        known_as=BATCH_HOLDS,
    )
    yield Call(
        partial(jf.elbo, MODEL, batch=BATCH, key=KEY),
        {"params": {"kernel": GAUSSIANS["kernel"], "bias": PARAMS["bias"]}},
        name="elbo of arrays",
    )


def _post_hoc() -> Iterator[Call]:
    kept = "entry negative, entry zero, entry doubled"
    yield Call(
        jf.laplace,
        {"model": MODEL, "params": PARAMS, "data": BATCH, "where": everything}
        | {"structure": "diagonal", "batch_size": 4},
        {"params": f"{kept}, entry half precision, entry huge"},
    )
    yield Call(
        lambda data: jf.laplace(MODEL, PARAMS, (data, Y)),
        {"data": X},
        {"data": "negative, zero, doubled, booleans, huge, half precision"},
        name="laplace of inputs",
    )
    yield Call(
        jf.dropout,
        {"params": PARAMS, "rate": 0.2, "where": lambda path, leaf: leaf.ndim > 1},
        known_as={"params": "where"},
        may={
            "rate": "zero",
            "params": f"{WEIGHTS}, entry empty, entry a row less, entry a column less"
            ", entry an axis more, in a list",
        },
    )
    point = jf.Point({"params": PARAMS})
    yield Call(jf.sub_networks, {"net": BLOCKS, "posterior": point, "rate": 0.2}, {"rate": "zero"})
    yield Call(jf.sub_networks(BLOCKS, point).sample, {"key": KEY})
    yield Call(
        lambda net, rate: list(all_sub_networks(net, rate=rate)),
        {"net": BLOCKS, "rate": 0.2},
        {"rate": "zero"},
        name="all_sub_networks",
    )
