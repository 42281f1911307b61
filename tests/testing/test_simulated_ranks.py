from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import chisquare, norm

import jfractal as jf
from jfractal import testing
from jfractal.testing import Calibration
from jfractal.training import scan

KEY = jax.random.key(3)
SIMULATOR = testing.ConjugateRegression.random(jax.random.key(1), num_data=10).simulator
RISING = testing.Simulator.gaussian(
    nn.Dense(1), jnp.linspace(0.5, 2.0, 10)[:, None], prior_scale=1.0, noise_scale=0.5
)


def test_the_posterior_is_calibrated(newton):
    testing.assert_calibrated(newton, SIMULATOR, KEY)


@pytest.mark.parametrize(
    ("error", "shape"),
    [
        ({"temperature": 0.3}, "too narrow"),
        ({"temperature": 3.0}, "too wide"),
        ({"shift": 0.8}, "too high"),
        ({"shift": -0.8}, "too low"),
    ],
)
def test_what_is_wrong_is_named(newton, error, shape):
    """Of a net whose outputs rise with all its weights, at these inputs."""
    wrong = partial(newton, **error)
    calibration = testing.simulate_ranks(wrong, RISING, KEY)
    shapes = calibration.shapes()
    assert {shapes[f"f(x[{i}])"] for i in (0, 5, 9)} == {shape}
    assert calibration.p_value < 1e-4
    with pytest.raises(AssertionError, match=rf"'f\(x\[9\]\)' are {shape} .*p = "):
        testing.assert_calibrated(wrong, RISING, KEY)


def test_a_method_without_correlations_is_not_calibrated(newton):
    with pytest.raises(AssertionError, match="not calibrated in 500 simulations"):
        testing.assert_calibrated(partial(newton, diagonal=True), RISING, KEY)


def test_the_prior_passes_on_predictions_but_not_on_the_likelihood():
    def no_data(model, start, data, key):
        zeros = jax.tree.map(jnp.zeros_like, start(key))
        return jf.MeanField(jf.mean_field(zeros, scale=1.5))

    shapes = testing.simulate_ranks(no_data, SIMULATOR, KEY).shapes()
    assert all(shape == "uniform" for name, shape in shapes.items() if "f(x" in name)
    assert shapes["log likelihood"] == "too wide or off"


def test_a_method_that_cannot_be_traced_takes_turns(newton):
    def on_the_host(model, start, data, key):
        assert np.isfinite(np.asarray(data[1])).all()
        return newton(model, start, data, key)

    few = {"num_simulations": 20, "num_draws": 19}
    turns = testing.simulate_ranks(on_the_host, SIMULATOR, KEY, **few)
    together = testing.simulate_ranks(newton, SIMULATOR, KEY, **few)
    for name, ranks in turns.ranks.items():
        assert np.abs(ranks - together.ranks[name]).max() <= 1  # rounding may swap neighbours


def test_stored_draws_are_each_used_once():
    """The truth is the only number among the draws that is not theirs: ranks are as they lie."""

    def fit(model, start, data, key):
        return jf.Samples({"w": jnp.arange(9.0)})

    simulator = testing.Simulator(
        jf.Model(
            lambda variables, x: variables["params"]["w"][None],
            prior=jf.priors.Gaussian(1.0),
            likelihood=jf.likelihoods.Gaussian(1.0),
        ),
        jnp.zeros(1),
        draw_weights=lambda key: {"w": jnp.asarray(4.5)},
        draw_targets=lambda key, outputs: outputs,
    )
    calibration = testing.simulate_ranks(
        fit, simulator, KEY, num_simulations=20, num_draws=9, quantities=lambda w, *_: w
    )
    np.testing.assert_array_equal(calibration.ranks["w"], 5)


def laplace(model, start, data, key):
    adam = optax.adam(optax.cosine_decay_schedule(0.1, 1500))
    mode, _ = scan(jf.maximum_a_posteriori(model, adam), start, data, key, num_steps=1500)
    return jf.laplace(model, mode.mean(), data)


def sgld(model, start, data, key):
    chain = {"num_warmup": 2000, "num_draws": 99, "thinning": 200}
    method = jf.sgld(model, learning_rate=0.003, **chain)
    return scan(method, start, data, key, num_steps=2000 + 99 * 200)[0]


@pytest.mark.slow
@pytest.mark.parametrize("fit", [laplace, sgld])
def test_methods_of_the_library_are_calibrated(fit):
    testing.assert_calibrated(fit, SIMULATOR, KEY)


def test_ties_are_broken_evenly(newton):
    calibration = testing.simulate_ranks(
        newton, SIMULATOR, KEY, quantities=lambda w, *_: {"constant": jnp.zeros(())}
    )
    assert calibration.p_value > 0.01


def test_draws_that_are_not_finite_are_no_result(newton):
    with pytest.raises(jf.DivergenceError, match="is not finite in 500 of 500 simulations"):
        testing.simulate_ranks(partial(newton, shift=jnp.nan), SIMULATOR, KEY)


def test_perfectly_even_ranks():
    even = Calibration({"a": np.tile(np.arange(100), 2)}, num_draws=99)
    assert even.p_values["a"] == even.p_value == pytest.approx(1.0)
    assert even.bias["a"] == pytest.approx(0.0, abs=1e-9)
    assert even.spread["a"] == pytest.approx(0.0, abs=1e-9)
    assert even.reasons() == ()


def test_figures_by_hand():
    """30 ranks of 0 to 2, in bins of one rank each."""
    ranks = np.repeat([0, 1, 2], [15, 10, 5])
    calibration = Calibration({"a": ranks}, num_draws=2)
    bias = -(1 / 9) / np.sqrt(2 / 27 / 30)
    spread = (2 / 27 - 1 / 81 - 2 / 27) / np.sqrt(2 / 729 / 30)
    assert calibration.bias["a"] == pytest.approx(bias)
    assert calibration.spread["a"] == pytest.approx(spread)
    assert calibration.p_value == pytest.approx(3 * 2 * norm.sf(-bias))
    assert calibration.shapes(0.2)["a"] == "too high"


def test_ranks_of_no_shape_with_a_name():
    """Centred, and as wide as they should be, but with gaps."""
    ranks = np.repeat([0, 3, 4, 7, 8, 11, 12, 15, 16, 19], 20)
    calibration = Calibration({"a": ranks}, num_draws=19)
    counts = np.bincount(ranks, minlength=20)
    np.testing.assert_array_equal(calibration.counts["a"], counts)
    assert calibration.p_value == pytest.approx(3 * chisquare(counts).pvalue)
    assert calibration.shapes()["a"] == "uneven"


def test_uniform_ranks_are_called_uneven_as_often_as_the_level_says():
    """Or somewhat less often, for the three tests of a quantity know of each other."""
    ranks = np.random.default_rng(0).integers(0, 31, size=(1000, 200))
    calibration = Calibration({str(i): row for i, row in enumerate(ranks)}, num_draws=30)
    share = np.mean(np.array([*calibration.p_values.values()]) < 0.05)
    assert 0.02 < share < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 1000)
    for scores in (calibration.bias, calibration.spread):
        values = np.array([*scores.values()])
        assert abs(values.mean()) < 4 / np.sqrt(1000) + 0.08  # the spread loses 1/S to the mean
        assert abs(values.std() - 1) < 4 / np.sqrt(2000)


def test_several_quantities_are_several_chances():
    ranks = {"a": np.repeat([0, 1, 2], [20, 12, 8]), "b": np.repeat([0, 1, 2], [14, 12, 14])}
    both = Calibration(ranks, num_draws=2)
    assert both.p_value == pytest.approx(2 * both.p_values["a"])


def test_invariants_of_a_net_of_two_outputs():
    x = jnp.array([[0.0], [1.0], [2.0], [3.0]])
    simulator = testing.Simulator.gaussian(nn.Dense(2), x, prior_scale=1.0, noise_scale=0.1)
    params = {"bias": jnp.array([1.0, -1.0]), "kernel": jnp.array([[2.0, 0.5]])}
    data = x, simulator.targets(params, KEY)
    values = testing.invariants(params, simulator.model, data)
    assert values["f(x[0])[0]"] == 1.0 and values["f(x[0])[1]"] == -1.0
    assert values["f(x[2])[0]"] == 5.0 and values["f(x[3])[1]"] == 0.5
    assert values["log joint"] == pytest.approx(
        float(simulator.model.log_joint(params, data)), rel=1e-5
    )


def test_bad_input(newton):
    for options in ({"num_simulations": 19}, {"num_draws": 1}):
        with pytest.raises(jf.InputError, match=next(iter(options))):
            testing.simulate_ranks(newton, SIMULATOR, KEY, **options)
    with pytest.raises(jf.InputError, match="level"):
        testing.assert_calibrated(newton, SIMULATOR, KEY, level=0.0)
    with pytest.raises(jf.InputError, match="at least 20, for each quantity"):
        Calibration({"a": np.zeros(19, int)}, num_draws=9)
    with pytest.raises(jf.InputError, match="`num_draws` must be at least 2"):
        Calibration({"a": np.zeros(20, int)}, num_draws=1)
    with pytest.raises(jf.InputError, match="between 0 and `num_draws`"):
        Calibration({"a": np.full(20, 10)}, num_draws=9)


@pytest.mark.parametrize(("temperature", "shape"), [(0.8, "too narrow"), (1.25, "too wide")])
def test_a_fifth_of_the_variance_is_found_and_named(newton, temperature, shape):
    """Powers of .99 and more at the default number of simulations, so at most one key fails."""
    wrong = partial(newton, temperature=temperature)
    with pytest.raises(AssertionError, match=rf"'log joint' are {shape}"):
        testing.assert_calibrated(wrong, SIMULATOR, KEY)
