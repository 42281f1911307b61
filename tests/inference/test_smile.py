import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import jfractal as jf
from jfractal.inference.smile import _turned
from jfractal.testing import Moments, assert_covariance, draws_of
from jfractal.training import scan
from tests.inference.conftest import flat

KEY = jax.random.key(0)
CATEGORICAL = {"prior": jf.priors.Gaussian(1.0), "likelihood": jf.likelihoods.Categorical()}


@pytest.mark.parametrize("strength", [0.5, 30.0])
def test_a_turn_solves_the_equation_of_motion(strength):
    """u' = (I − u uᵀ) F / (d − 1), and the energy won is the work of F, by a solver of ODEs."""
    direction, force = np.random.default_rng(0).normal(size=(2, 5))
    direction, force = direction / np.linalg.norm(direction), strength * force

    def motion(time, state):
        u = state[:5]
        return np.append((force - u * (u @ force)) / 4, u @ force)

    start = np.append(direction, 0.0)
    solved = scipy.integrate.solve_ivp(motion, (0, 0.7), start, rtol=1e-9, atol=1e-9).y[:, -1]
    split = lambda x: {"a": jnp.asarray(x[:2], jnp.float32), "b": jnp.asarray(x[2:], jnp.float32)}
    new, won = _turned(split(direction), split(force), jnp.asarray(0.7), 5)
    np.testing.assert_allclose(np.concatenate([new["a"], new["b"]]), solved[:5], atol=1e-5)
    np.testing.assert_allclose(won, solved[5], rtol=1e-4, atol=1e-5)


def test_the_scale_of_a_weight_is_its_curvature_and_the_noise_of_its_gradient(problem):
    """v = E[Ĝ²] over the exact posterior and over batches, by drawing both."""
    squares = []
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(problem.covariance)
    target = np.asarray(problem.y[:, 0], np.float64)
    for _ in range(4000):
        w = problem.mean + root @ rng.normal(size=3)
        rows = rng.permutation(30)[:10]
        design = problem.design[rows]
        squares.append((3 * design.T @ (target[rows] - design @ w) / 0.25 - w / 1.5**2) ** 2)
    state = _state(jf.smile(problem.model, num_warmup=3000), problem, 3000)
    np.testing.assert_allclose(flat(state.squares), np.mean(squares, 0), rtol=0.35)


def _state(method, problem, num_steps):
    options = {"num_steps": num_steps, "batch_size": 10}
    return jf.fit(method, problem.start, problem.data, KEY, **options).state


def test_after_warm_up_nothing_is_tuned(problem):
    method = jf.smile(problem.model, num_warmup=50)
    state = _state(method, problem, 50)
    after = state
    for step in range(5):
        after, info = method.update(after, problem.data, jax.random.fold_in(KEY, step))
    assert info["step_size"] == after.step_size == state.step_size
    jax.tree.map(np.testing.assert_array_equal, after.squares, state.squares)
    assert not np.array_equal(after.params["kernel"], state.params["kernel"])
    norm = jnp.sqrt(sum(jnp.sum(u**2) for u in jax.tree.leaves(after.direction)))
    np.testing.assert_allclose(norm, 1, rtol=1e-5)


def test_batches_do_not_widen_the_posterior(problem):
    """Not even if a batch is a third of the data."""
    options = {"num_warmup": 1500, "num_draws": 600, "thinning": 10}
    exact = Moments(problem.mean, problem.covariance)
    unit = np.outer(exact.std, exact.std)

    def draws(method):
        method = jf.ensemble(method, 4)
        run = lambda data: scan(method, problem.start, data, KEY, num_steps=7500, batch_size=10)[0]
        return draws_of(jax.jit(run)(problem.data), KEY)

    assert_covariance(draws(jf.smile(problem.model, **options)), exact, slack=0.2 * unit)


class Small(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(6)(x))
        return nn.Dense(3)(nn.relu(x))


def test_batch_norm_and_an_ensemble():
    net, x = Small(), jax.random.normal(KEY, (40, 4))
    y = jnp.argmax(x[:, :3], -1)
    model = jf.Model.from_linen(net, **CATEGORICAL)
    method = jf.ensemble(jf.smile(model, num_warmup=60, num_draws=3, thinning=5), 2)
    start = lambda key: net.init(key, x)
    fit = jf.fit(method, start, (x, y), KEY, num_steps=80, batch_size=20)
    assert fit.posterior.members.params["Dense_0"]["kernel"].shape == (2, 3, 4, 6)
    assert np.isfinite(fit.history["step_size"]).all()
    probs = jf.predict(model, fit.posterior, x, KEY, num_samples=6).probs
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-4)


@pytest.mark.slow
def test_a_fractal_net_with_batch_norm():
    net = jf.FractalNet(3, columns=2, widths=(4,), norm="batch")
    x, y = jax.random.normal(KEY, (12, 8, 8, 1)), jnp.arange(12) % 3
    model = jf.fractal_model(net, **CATEGORICAL)
    method = jf.smile(model, num_warmup=10, num_draws=2, thinning=2)
    fit = jf.fit(method, net.init(KEY, x), (x, y), KEY, num_steps=14, batch_size=6)
    state = fit.state
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert state.step == 14 and "batch_stats" in state.variables


def test_weights_of_half_precision_are_scaled_in_single(problem):
    start = jax.tree.map(lambda w: w.astype(jnp.bfloat16), problem.start(KEY))
    method = jf.smile(problem.model, num_draws=2)
    state, _ = jax.jit(method.update)(method.init(start, KEY), problem.data, KEY)
    assert state.params["kernel"].dtype == jnp.bfloat16
    assert state.squares["kernel"].dtype == state.step_size.dtype == jnp.float32


@pytest.mark.parametrize(
    "options",
    [{"num_warmup": 0}, {"energy_variance": 0.0}, {"temperature": 0.0}, {"thinning": 0}],
)
def test_bad_input(problem, options):
    with pytest.raises(jf.InputError, match=next(iter(options))):
        jf.smile(problem.model, **options)


def test_one_weight_has_no_direction():
    model = jf.Model(lambda v, x: x * v["params"]["w"], **CATEGORICAL)
    with pytest.raises(jf.InputError, match="at least 2 weights"):
        jf.smile(model).init({"w": jnp.ones(1)}, KEY)
