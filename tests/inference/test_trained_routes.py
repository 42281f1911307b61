"""The routes that a step trains and what the whole net tells its columns, beside sums by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf

NET = jf.FractalNet(3, columns=2, widths=(4,), norm="frn")
X = jax.random.normal(jax.random.key(0), (6, 4, 4, 3))
LABELS = jnp.array([0, 1, 2, 0, 1, 2])
KEY = jax.random.key(2)
SHARE = 0.3


@pytest.fixture(scope="module")
def variables():
    return jax.jit(NET.init)(jax.random.key(1), X)


def model_of(routes, **options):
    """Without drop-path, and of a net whose examples do not meet: its passes are sums."""
    return jf.fractal_model(
        NET,
        prior=jf.priors.Flat(),
        likelihood=jf.likelihoods.Categorical(),
        **{"routes": routes, "global_rate": SHARE, "drop_path": 0.0, **options},
    )


def of_training(model, variables, batch=(X, LABELS)):
    """Log likelihood of every example in a step, and the gradient of their mean."""

    @jax.jit
    def step(params):
        run = model.training_pass({**variables, "params": params}, batch, KEY)
        return run.log_likelihood.mean(), run.log_likelihood

    slope, values = jax.grad(step, has_aux=True)(variables["params"])
    return values, jax.flatten_util.ravel_pytree(slope)[0]


def log_probs(variables, column=None):
    return jax.nn.log_softmax(NET.apply(variables, X, column=column))


def by_hand(variables, distillation=0.0):
    """``(1 − g) log p_whole + g / C Σ_c ((1 − d) log p_c(y) + d Σ_k p_whole(k) log p_c(k))``."""
    whole = log_probs(variables)
    teacher = jnp.exp(jax.lax.stop_gradient(whole))
    of = lambda log_p: jnp.take_along_axis(log_p, LABELS[:, None], axis=1)[:, 0]
    columns = [log_probs(variables, column=c) for c in NET.columns]
    taught = [
        (1 - distillation) * of(p) + distillation * (teacher * p).sum(axis=1) for p in columns
    ]
    return (1 - SHARE) * of(whole) + SHARE * sum(taught) / len(taught)


@pytest.mark.parametrize("distillation", [0.0, 0.4, 1.0])
def test_two_passes_are_the_weighted_sum(variables, distillation):
    """In values and in gradients: nothing flows into the whole net from what it tells."""
    values, slope = of_training(model_of("two_pass", distillation=distillation), variables)
    loss = lambda params: by_hand({**variables, "params": params}, distillation).mean()
    expected = jax.flatten_util.ravel_pytree(jax.grad(loss)(variables["params"]))[0]
    np.testing.assert_allclose(values, by_hand(variables, distillation), rtol=1e-5)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distillation", [0.0, 0.4])
def test_parts_are_two_passes_on_average(variables, distillation):
    """Over batches in which every example meets every column once."""
    means = {}
    for routes in ("two_pass", "partitioned"):
        model, runs = model_of(routes, distillation=distillation), []
        for turned in (0, 3):
            batch = jnp.roll(X, turned, axis=0), jnp.roll(LABELS, turned)
            values, slope = of_training(model, variables, batch)
            runs.append((jnp.roll(values, -turned), slope))
        means[routes] = [np.mean(of, axis=0) for of in zip(*runs)]
    for two_pass, parts in zip(*means.values()):
        np.testing.assert_allclose(parts, two_pass, rtol=1e-4, atol=1e-6)


def test_the_columns_get_their_parts_in_order(variables):
    values, _ = of_training(model_of("partitioned", global_rate=1.0), variables)
    rows = jnp.arange(6)
    expected = [log_probs(variables, column=c)[rows, LABELS] for c in NET.columns]
    np.testing.assert_allclose(
        values, jnp.concatenate([expected[0][:3], expected[1][3:]]), rtol=1e-5
    )


def test_a_column_that_agrees_with_the_whole_net_learns_nothing_of_it(variables):
    """At a net of one column, all of whose targets are its own prediction, the slope is 0."""
    net = jf.FractalNet(3, columns=1, widths=(4,), norm="frn")
    start = jax.jit(net.init)(jax.random.key(1), X)
    model = jf.fractal_model(
        net,
        prior=jf.priors.Flat(),
        likelihood=jf.likelihoods.Categorical(),
        routes="two_pass",
        global_rate=1.0,
        drop_path=0.0,
        distillation=1.0,
    )
    _, slope = of_training(model, start)
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)


def test_a_batch_that_has_no_equal_parts_is_refused(variables):
    with pytest.raises(jf.InputError, match=r"`batch_size` must give each of 2 columns .* got 5"):
        of_training(model_of("partitioned"), variables, (X[:5], LABELS[:5]))


@pytest.mark.parametrize("routes", ["sampled", "learned"])
def test_only_the_whole_net_beside_its_columns_can_teach(routes):
    with pytest.raises(
        jf.InputError, match="`distillation` needs `routes` that run both the whole net"
    ):
        model_of(routes, distillation=0.5)


def test_only_classes_are_distilled():
    with pytest.raises(jf.InputError, match="`likelihood` must be `Categorical`"):
        jf.fractal_model(
            NET,
            prior=jf.priors.Flat(),
            likelihood=jf.likelihoods.Gaussian(scale=1.0),
            routes="two_pass",
            distillation=0.5,
        )


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "half", None])
def test_the_share_is_a_fraction(share):
    with pytest.raises(jf.InputError, match="`distillation` must be"):
        model_of("two_pass", distillation=share)
