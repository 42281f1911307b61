import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.inference import all_sub_networks, sub_networks

RATE = 0.3


@pytest.fixture(scope="module")
def problem():
    net = jf.FractalNet(3, columns=3, widths=(4, 5), norm="layer")
    x = jax.random.normal(jax.random.key(0), (6, 4, 4, 3))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    fill = lambda leaf: jnp.asarray(rng.normal(0, 1, leaf.shape), leaf.dtype)
    return net, jax.tree.map(fill, shapes), x


def test_monte_carlo_meets_the_enumeration(problem):
    net, variables, x = problem
    apply = jax.jit(lambda alive: jax.nn.softmax(net.apply({**variables, "drop_path": alive}, x)))
    every = list(all_sub_networks(net, rate=RATE))
    assert len(every) == (3 * 7) ** 2  # joins of 2 and 3 inputs in each of two blocks
    assert sum(p for p, _ in every) == pytest.approx(1)
    probs = np.stack([apply(alive) for _, alive in every])
    weight = np.array([p for p, _ in every])
    mean = np.einsum("n,nbc->bc", weight, probs)
    var = np.einsum("n,nbc->bc", weight, (probs - mean) ** 2)
    assert var.max() > 1e-3  # else there is nothing to meet

    n = 4000
    posterior = sub_networks(net, jf.Point(variables), rate=RATE)
    p = jf.predict(net.apply, posterior, x, jax.random.key(1), num_samples=n, samples_per_pass=100)
    assert np.all(abs(p.probs - mean) < 4 * np.sqrt(var / n) + 1e-6)


def test_rate_zero_is_the_joined_net(problem):
    net, variables, x = problem
    drawn = sub_networks(net, jf.Point(variables), rate=0.0).sample(jax.random.key(0))
    np.testing.assert_allclose(net.apply(drawn, x), net.apply(variables, x), rtol=1e-4, atol=1e-4)


def test_weights_come_from_the_posterior_within(problem):
    net, variables, _ = problem
    q = jf.MeanField(jf.mean_field(variables["params"], scale=0.1))
    posterior = sub_networks(net, q)
    first, second = (posterior.sample(jax.random.key(seed)) for seed in (0, 1))
    assert set(first) == {"params", "drop_path"}
    leaves = zip(jax.tree.leaves(first["params"]), jax.tree.leaves(second["params"]))
    assert all(jnp.any(a != b) for a, b in leaves)


def test_the_rate_is_a_probability(problem):
    net, variables, _ = problem
    with pytest.raises(jf.InputError, match=r"`rate` must be in \[0, 1\), got 1.0"):
        sub_networks(net, jf.Point(variables), rate=1.0)
    with pytest.raises(jf.InputError, match=r"`rate` must be in \[0, 1\), got -0.5"):
        next(all_sub_networks(net, rate=-0.5))


def test_a_linearised_posterior_answers_through_its_tangent(problem):
    """Without spread the tangent is the net, in every sub-network."""
    net, variables, x = problem
    point = jf.Point(variables)
    paths = ("head/kernel",)
    q = sub_networks(net, jf.Laplace(point, jnp.zeros(()), paths), rate=RATE)
    net_of = lambda q: jf.sample_outputs(net.apply, q, x, jax.random.key(0), num_samples=3)
    expected = net_of(sub_networks(net, point, rate=RATE))
    np.testing.assert_allclose(net_of(q), expected, rtol=1e-4, atol=1e-4)


def test_weights_are_no_posterior(problem):
    net, variables, _ = problem
    with pytest.raises(jf.InputError, match=r"`posterior` must have `sample\(key\) .* a dict"):
        sub_networks(net, variables["params"])


def test_training_under_drop_path_finds_the_best_expectation():
    """Of all sub-networks, enumerated; the best joined net has worse parts."""
    net = jf.FractalNet(1, columns=2, widths=(3,), unit=jf.nn.DenseUnit, norm="none")
    x = jax.random.normal(jax.random.key(0), (40, 2))
    y = jnp.maximum(x @ jnp.array([[1.0], [-1.0]]), 0)
    prior, likelihood = jf.priors.Gaussian(3.0), jf.likelihoods.Gaussian(0.3)
    model = jf.fractal_model(
        net, prior=prior, likelihood=likelihood, global_rate=0.0, drop_path=0.0
    )
    fitted = lambda method: (
        jf.fit(
            method, net.init(jax.random.key(1), x), (x, y), jax.random.key(1), num_steps=1500
        ).posterior
    )
    trained = fitted(jf.mc_drop_path(model, optax.adam(1e-2), rate=RATE))
    plain = fitted(jf.maximum_a_posteriori(model, optax.adam(1e-2)))

    def expected(variables):
        error = lambda alive: jnp.mean((net.apply({**variables, "drop_path": alive}, x) - y) ** 2)
        return sum(p * error(alive) for p, alive in all_sub_networks(net, rate=RATE))

    assert expected(trained.posterior.variables) < 0.5 * expected(plain.variables)


def test_a_net_around_a_net_of_blocks_drops_the_same_paths():
    inner = jf.FractalNet(1, columns=2, widths=(3,), unit=jf.nn.DenseUnit, norm="none")
    net, x = jf.nn.LearnedNoise(inner), jnp.ones((2, 4))
    variables = net.init(jax.random.key(0), x)
    inside = {"params": variables["params"]["net"]}
    key = jax.random.key(1)
    around = sub_networks(net, jf.Point(variables), rate=0.4).sample(key)
    within = sub_networks(inner, jf.Point(inside), rate=0.4).sample(key)
    assert jax.tree.all(
        jax.tree.map(jnp.array_equal, around["drop_path"], {"net": within["drop_path"]})
    )
    np.testing.assert_allclose(net.apply(around, x)[:, :1], inner.apply(within, x), rtol=1e-6)
    with pytest.raises(jf.InputError, match="`net` must be a net of blocks, got a Dense"):
        sub_networks(nn.Dense(1), jf.Point(variables))
