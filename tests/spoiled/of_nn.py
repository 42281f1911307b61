"""Spoiled calls of `jfractal.nn`."""

from collections.abc import Iterator
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

import jfractal as jf
from jfractal import topology
from tests.spoiled.calls import Call
from tests.spoiled.problem import KEY, X

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(2, 8, 8, 3)), jnp.float32)
CONV = partial(jf.BayesConv, kernel_size=(3, 3))
TOKENS = jnp.asarray(RNG.integers(0, 5, (2, 8)))
NET = jf.FractalNet(3, columns=2, widths=(4,), conv=jf.BayesConv)
VARIABLES = NET.init(KEY, IMAGES)
PLAIN = jf.FractalNet(3, columns=2, widths=(4,))
TRAINED = PLAIN.init(KEY, IMAGES)
WHOLE = {"column": "None"}
EXTREME = "NaN, all NaN, inf, -inf"
SHIFTED = "negative, zero, doubled, huge, half precision, booleans"
ANY = f"{SHIFTED}, {EXTREME}".split(", ")


def calls() -> Iterator[Call]:
    yield from _architectures()
    yield from _passes()
    yield from _surgery()


def _architectures() -> Iterator[Call]:
    options = {
        "num_classes": 3,
        "widths": (4, 4),
        "dropout": (0.1, 0.0),
        "conv": jf.nn.Conv,
        "unit": jf.nn.ConvUnit,
        "dense": nn.Dense,
        "norm": "frn",
        "drop_path_per": "batch",
        "kernel_init": "he",
        "remat": True,
    }
    kept = {"dropout": "part zero", "widths": "a part less"}
    yield Call(
        jf.nn.block_net,
        {"block": topology.fractal(2)} | options,
        kept,
        known_as={"widths": "dropout"},
    )
    yield Call(
        jf.FractalNet,
        {"num_classes": 3, "columns": 2, "widths": (4,), "dropout": 0.1},
        {"dropout": "zero"},
    )
    for net in (jf.PlainNet, jf.ResNet, jf.DenseNet):
        yield Call(net, {"num_classes": 3, "depth": 2})
    shared = {"features": 4, "norm": "frn", "dropout": 0.1, "order": "pre", "use_bias": True}
    for unit, own in (
        (jf.nn.ConvUnit, {"conv": jf.nn.Conv, "kernel_size": 3}),
        (jf.nn.SeparableUnit, {"conv": jf.nn.Conv, "kernel_size": 3}),
        (jf.nn.DenseUnit, {"dense": nn.Dense}),
    ):
        yield Call(unit, shared | own, {"dropout": "zero"})
    yield Call(
        jf.TextNet,
        {"net": PLAIN, "vocabulary_size": 5, "features": 4, "dropout": 0.1, "embed": nn.Embed},
        {"dropout": "zero"},
    )
    yield Call(jf.nn.LearnedNoise, {"net": nn.Dense(2)})
    yield Call(jf.nn.fast, {"apply": PLAIN.apply})
    yield Call(PLAIN.column, {"column": 1}, WHOLE)
    yield Call(PLAIN.depth, {"column": 1}, name="BlockNet.depth")
    yield Call(PLAIN.lone_columns, {"column": 1})
    yield Call(PLAIN.project, {"channels": 3})
    for function in (PLAIN.unit_flops, PLAIN.num_flops):
        yield Call(function, {"shape": (8, 8, 3), "column": 1}, {"shape": "a part less"})
    yield Call(PLAIN.num_params, {"shape": (8, 8, 3)}, {"shape": "a part less"})
    text = jf.TextNet(jf.FractalNet(3, columns=2, widths=(4,)), 5, 4)
    yield Call(text.column, {"column": 1}, WHOLE, name="TextNet.column")
    yield Call(text.depth, {"column": 1}, name="TextNet.depth")
    yield Call(text.num_flops, {"shape": (8,), "column": 1}, name="TextNet.num_flops")
    yield Call(text.num_params, {"shape": (8,)}, name="TextNet.num_params")


def _passes() -> Iterator[Call]:
    run = lambda net, variables: (
        lambda x, **options: net.apply(
            variables, x, rngs={"posterior": KEY, "drop_path": KEY}, **options
        )
    )
    yield Call(
        run(PLAIN, TRAINED),
        {"x": IMAGES, "train": False, "column": 1, "drop_path": 0.1},
        {"x": f"{SHIFTED}, {EXTREME}, a row less", "drop_path": "zero", "column": "None"},
        name="BlockNet()",
        may_be_nan=True,
    )
    text = jf.TextNet(jf.FractalNet(3, columns=2, widths=(4,)), 5, 4)
    yield Call(
        run(text, text.init(KEY, TOKENS)),
        {"x": TOKENS},
        {"x": "a row less, a column less"},
        name="TextNet()",
        known_as={"x": "tokens"},
    )
    for layer, shape, x, more in (
        (jf.BayesDense, {"features": 3}, X, "an axis more"),
        (CONV, {"features": 3}, IMAGES, "an axis more"),
        (
            jf.BayesEmbed,
            {"num_embeddings": 5, "features": 4},
            TOKENS,
            "an axis more, a column less, flat, a scalar, a number",
        ),
    ):
        made = lambda x=x, layer=layer, **options: layer(**options).init(KEY, x)
        yield Call(
            made,
            shape
            | {"scale": 0.1, "mean_scale": 0.5, "estimator": "reparam"}
            | {"parameterisation": "softplus"},
            {"mean_scale": "None, zero"},
            name=getattr(layer, "__name__", "BayesConv"),
        )
        whole = layer(**shape)
        yield Call(
            run(whole, whole.init(KEY, x)),
            {"x": x},
            {"x": f"{SHIFTED}, {EXTREME}, a row less, {more}"},
            name=getattr(layer, "__name__", "BayesConv") + "()",
            known_as={"x": "inputs"},
            may_be_nan=True,
        )


def _surgery() -> Iterator[Call]:
    chain = jf.mean_field(
        {
            "a": {"kernel": jnp.ones((2, 4)), "bias": jnp.ones(4)},
            "b": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)},
        }
    )
    yield Call(
        jf.nn.prune_units,
        {"params": chain, "layers": ("a", "b"), "fraction": 0.5},
        {"fraction": "zero", "params": "entry entry None"},
    )
    yield Call(
        lambda batch_stats: jf.extract(PLAIN, {**TRAINED, "batch_stats": batch_stats}),
        {"batch_stats": TRAINED["batch_stats"]},
        {"batch_stats": ", ".join(f"{_inner(5)[:-1]}{word}" for word in ANY)},
        known_as={"batch_stats": "variables"},
        name="extract of statistics",
        may_be_nan=True,
    )
    params = VARIABLES["params"]
    yield Call(jf.nn.path_snr, {"net": NET, "params": params}, {"params": _inner(3)})
    yield Call(
        jf.nn.prune_paths,
        {"net": NET, "variables": VARIABLES, "fraction": 0.5},
        {"fraction": "zero", "variables": _inner(4)},
    )
    yield Call(
        jf.nn.keep_columns,
        {"net": NET, "variables": VARIABLES, "columns": (1,)},
        {"variables": _inner(4)},
    )
    yield Call(
        jf.extract,
        {"net": PLAIN, "variables": TRAINED, "column": 1},
        {"column": "None", "variables": "entry entry entry entry entry *"},
        may_be_nan=True,
    )


def _inner(depth: int) -> str:
    """What is within a unit is for the unit to know: all that matters is what leaves with it."""
    return f"{'entry ' * depth}*"
