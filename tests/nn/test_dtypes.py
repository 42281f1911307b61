"""In which types nets compute, keep their weights, and report."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal import topology
from jfractal.errors import InputError
from jfractal.nn.norms import NORMS, get_norm
from jfractal.posterior.pruning import group_snr
from jfractal.topology import Join, Unit

HALF = jnp.dtype("bfloat16")
KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(6, 4, 4, 3)).astype(np.float32)
TOKENS = np.arange(24).reshape(4, 6) % 7
FRACTAL = partial(jf.FractalNet, 3, columns=2, widths=(8,))


def convex(**options):
    two = Join((Unit("a"), Unit("b")), how="convex")
    return jf.nn.block_net(two, 3, widths=(8,), **options)


NETS = {
    "fractal": FRACTAL,
    "plain": partial(jf.PlainNet, 3, depth=2, widths=(8,), norm="group"),
    "residual": partial(jf.ResNet, 3, depth=2, widths=(8,), norm="frn", remat=True),
    "dense": partial(jf.DenseNet, 3, depth=2, widths=(4,), norm="layer", kernel_init="aligned"),
    "convex": convex,
    "pre-activation": partial(FRACTAL, unit=partial(jf.nn.ConvUnit, order="pre")),
    "separable": partial(FRACTAL, unit=jf.nn.SeparableUnit),
    "dense units": partial(FRACTAL, unit=jf.nn.DenseUnit),
    "Bayesian": partial(FRACTAL, conv=jf.BayesConv),
    "text": lambda **options: jf.TextNet(FRACTAL(), 7, 4, **options),
    "Bayesian text": lambda **options: jf.TextNet(
        FRACTAL(conv=jf.BayesConv), 7, 4, embed=jf.BayesEmbed, **options
    ),
    "noise": lambda **options: jf.nn.LearnedNoise(FRACTAL(**options)),
}


def dtypes(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


def products(jaxpr):
    """The types of the results of all convolutions and matrix products of a program."""
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("jfractal_conv", "dot_general"):
            found |= {v.aval.dtype for v in equation.outvars}
        for inner in jax.tree.leaves(list(equation.params.values())):
            found |= products(inner) if hasattr(inner, "eqns") else set()
    return found


def evaluated(net, x):
    """The variables of a net as shapes, a training pass, and its results as shapes."""
    variables = jax.eval_shape(net.init, {"params": KEY}, x)

    def run(variables, x):
        keys = {"posterior": KEY, "dropout": KEY}
        return net.apply(variables, x, train=True, mutable=["batch_stats"], rngs=keys)

    return variables, run, jax.eval_shape(run, variables, x)


@pytest.mark.parametrize("name", NETS)
def test_a_net_computes_in_one_type_and_keeps_its_weights_in_another(name):
    x = TOKENS if "text" in name else X
    variables, run, (logits, updated) = evaluated(NETS[name](dtype="bfloat16"), x)
    assert dtypes(variables) | dtypes(updated) == {jnp.dtype("float32")}
    assert logits.dtype == (jnp.float32 if name == "noise" else HALF)
    assert products(jax.make_jaxpr(run)(variables, x).jaxpr) == {HALF}
    gradient = jax.eval_shape(
        jax.grad(lambda p: run({**variables, "params": p}, x)[0].astype(jnp.float32).sum()),
        variables["params"],
    )
    assert dtypes(gradient) == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", NETS)
def test_weights_in_half_precision_leave_statistics_wide(name):
    x = TOKENS if "text" in name else X
    net = NETS[name](dtype=HALF, param_dtype=jnp.bfloat16)
    variables, _, (_, updated) = evaluated(net, x)
    params = dict(variables["params"])
    assert params.pop("rho", jnp.zeros(())).dtype == jnp.float32  # of the noise
    assert dtypes(params) == {HALF}
    assert dtypes(updated) <= {jnp.dtype("float32")}


@pytest.mark.parametrize("norm", ["batch", "frn", "group", "layer", "none"])
def test_a_net_in_half_precision_predicts_what_it_does_in_single(norm):
    """The type is a setting of the computation: the variables are the same."""
    net = FRACTAL(norm=norm)
    variables = jax.jit(net.init)(KEY, X)
    half = jax.jit(net.clone(dtype="bfloat16").apply)(variables, X)
    np.testing.assert_allclose(
        half.astype(jnp.float32), jax.jit(net.apply)(variables, X), rtol=0.03, atol=0.03
    )


def test_what_training_reports_is_single_precision():
    net = FRACTAL(dtype=HALF, param_dtype=HALF)
    variables = jax.eval_shape(net.init, KEY, X)
    batch = (X, np.zeros(len(X), int))
    model = jf.fractal_model(
        net, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )
    for method in (jf.maximum_a_posteriori, jf.variational):
        three = method(model, optax.adam(1e-3))
        state = jax.eval_shape(three.init, variables, KEY)
        after, info = jax.eval_shape(three.update, state, batch, KEY)
        assert dtypes(info) == {jnp.dtype("float32")}
        assert dtypes(after.params) == {HALF}
        assert dtypes(after.variables) == {jnp.dtype("float32")}


METHODS = {
    "point": lambda model: jf.maximum_a_posteriori(model, optax.adam(1e-3)),
    "mean field": lambda model: jf.variational(model, optax.adam(1e-3)),
    "ivon": lambda model: jf.ivon(model, learning_rate=0.1, hessian_init=0.1),
    "swag": lambda model: jf.swag(model, optax.sgd(0.1), thinning=1, rank=2),
    "sghmc": lambda model: jf.sghmc(
        model, learning_rate=0.1, num_warmup=1, num_draws=2, thinning=1
    ),
    "ensemble": lambda model: jf.ensemble(jf.maximum_a_posteriori(model, optax.adam(1e-3)), 2),
}


@pytest.mark.parametrize("name", METHODS)
def test_all_but_the_net_stays_single_where_the_net_computes_in_half_precision(name):
    """Weights, statistics, the optimiser's state, KL, likelihood and what a step reports."""
    conv = jf.BayesConv if name == "mean field" else jf.nn.Conv
    net = FRACTAL(dtype=HALF, conv=conv)
    model = jf.fractal_model(
        net, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )
    method, batch = METHODS[name](model), (X, jnp.zeros(len(X), int))

    def step(key):
        state = method.init(net.init(key, X), key)
        return method.update(state, batch, key)  # the state, and what is reported: nll and KL

    real = [d for d in dtypes(jax.eval_shape(step, KEY)) if jnp.issubdtype(d, jnp.floating)]
    assert real == [jnp.dtype("float32")]


def test_predictions_of_half_precision_are_reported_in_single():
    net = FRACTAL(dtype=HALF, norm="layer")
    posterior = jf.Point({"params": jax.jit(net.init)(KEY, X)["params"]})
    prediction = jf.predict(net.apply, posterior, X, KEY, num_samples=1)
    assert prediction.probs.dtype == prediction.log_probs.dtype == jnp.float32


def test_a_fit_in_half_precision_learns():
    labels = (X.mean((1, 2, 3)) > 0).astype(int)
    net = jf.FractalNet(2, columns=2, widths=(8,), dtype=HALF)
    model = jf.fractal_model(
        net, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )
    method = jf.maximum_a_posteriori(model, optax.adam(1e-2))
    variables = jax.jit(net.init)(KEY, X)
    fit = jf.fit(method, variables, (X, labels), KEY, num_epochs=30, batch_size=6)
    assert fit.history["nll"][-3:].mean() < 0.5 * fit.history["nll"][:3].mean()
    assert dtypes(fit.posterior.mean()) == {jnp.dtype("float32")}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sums_over_leaves_in_half_precision_are_single(dtype):
    """One after the other in half precision, 10,000 equal terms would stop at a few hundred."""
    w = jnp.full(10_000, 0.5, dtype)
    prior = jf.priors.Gaussian(1.0)
    wide = w.astype(jnp.float32)
    q, wide_q = jf.mean_field(w, scale=0.5), jf.mean_field(wide, scale=0.5)
    for function, ours, theirs in [
        (prior.tree_log_prob, w, wide),
        (lambda q: jf.kl(q, prior), q, wide_q),
        (lambda q: jf.kl(q, jf.priors.ScaleMixture(), KEY), wide_q, wide_q),
        (group_snr, q, wide_q),
    ]:
        result = function(ours)
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, function(theirs), rtol=0.01)


@pytest.mark.parametrize("name", NORMS)
def test_norms_take_both_types(name):
    """Their statistics are those of single precision: squares of 300 are infinite in float16."""
    norm = get_norm(name)(dtype=jnp.float16, param_dtype=jnp.float16)
    x = 300 * jnp.asarray(np.tile(X, (1, 1, 1, 3))[..., :8])
    variables = norm.init(KEY, x, train=False, alone=False)
    assert dtypes(variables.get("params", {})) <= {jnp.dtype("float16")}
    assert dtypes(variables.get("batch_stats", {})) <= {jnp.dtype("float32")}
    half = x.astype(jnp.float16)
    y, _ = norm.apply(variables, half, train=True, alone=False, mutable=["batch_stats"])
    assert y.dtype == jnp.float16 and jnp.isfinite(y).all()
    expected = get_norm(name)().apply(
        variables, half.astype(jnp.float32), train=True, alone=False, mutable=["batch_stats"]
    )[0]
    np.testing.assert_allclose(y, expected, rtol=2e-3, atol=2e-3)


def test_a_layer_that_names_a_type_keeps_it():
    net = FRACTAL(conv=partial(jf.nn.Conv, dtype=HALF), dense=nn.Dense)
    variables, run, _ = evaluated(net, X)
    assert products(jax.make_jaxpr(run)(variables, X).jaxpr) == {HALF, jnp.dtype("float32")}


def test_names_of_one_type_are_equal():
    assert FRACTAL(dtype="bfloat16") == FRACTAL(dtype=jnp.bfloat16)
    assert hash(FRACTAL(dtype="bfloat16")) == hash(FRACTAL(dtype=jnp.bfloat16))


MODULES = {
    "FractalNet": FRACTAL,
    "BlockNet": lambda **options: FRACTAL().clone(**options),
    "TextNet": partial(jf.TextNet, FRACTAL(), 7),
    "Block": partial(jf.nn.Block, topology.plain(1), 4, jf.nn.ConvUnit),
    "ConvUnit": partial(jf.nn.ConvUnit, 4),
    "Conv": partial(jf.nn.Conv, 4, (3, 3)),
    "BayesConv": partial(jf.BayesConv, 4, (3, 3)),
    "BayesDense": partial(jf.BayesDense, 4),
    "BayesEmbed": partial(jf.BayesEmbed, 7, 4),
    "norm": get_norm("batch"),
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("argument", ["dtype", "param_dtype"])
@pytest.mark.parametrize("value", ["float15", jnp.int32, 16, jnp.complex64, jnp.float8_e4m3fn])
def test_a_type_that_no_net_has_is_refused(name, argument, value):
    with pytest.raises(InputError, match=rf"^`{argument}` must be a floating-point type of 16, 32"):
        MODULES[name](**{argument: value})


def test_double_precision_waits_for_jax():
    with pytest.raises(InputError, match=r"`dtype` must be of 32 bits or less unless `jax\.config"):
        FRACTAL(dtype=jnp.float64)
    with jax.enable_x64(True):
        assert FRACTAL(dtype=jnp.float64).dtype == jnp.float64
