import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.posterior.gaussian import Gaussian
from jfractal.posterior.softplus import inverse_softplus
from jfractal.viz import posterior_spread

MEAN = jnp.array([[1.0, -2.0], [3.0, 4.0]])
STD = jnp.array([[0.1, 0.2], [0.3, 0.8]])
PARAMS = {
    "block1": {"column2_1": {"kernel": Gaussian(MEAN, inverse_softplus(STD))}},
    "head": {"kernel": Gaussian(2 * MEAN, inverse_softplus(STD)), "bias": jnp.zeros(2)},
}


def spans(axes):
    """The ends and the dot of each line, from top to bottom."""
    lines = [line for line in axes.lines if line.get_linestyle() != "--"]
    return [(*a.get_xdata(), *b.get_xdata()) for a, b in zip(lines[::2], lines[1::2])]


def test_lines_are_the_quantiles_of_each_leaf_that_is_no_point():
    left, right = posterior_spread(jf.MeanField(PARAMS)).axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["block1/column2_1/kernel", "head/kernel"]
    quantiles = lambda x: np.quantile(np.asarray(x), [0.05, 0.95, 0.5])
    np.testing.assert_allclose(spans(left), [quantiles(STD)] * 2, rtol=1e-5)
    snr = np.abs(MEAN) / STD
    np.testing.assert_allclose(spans(right), [quantiles(snr), quantiles(2 * snr)], rtol=1e-5)


def test_any_posterior_with_a_variance_and_a_choice_of_leaves():
    draws = jf.Samples(
        jax.vmap(jf.MeanField(PARAMS).sample)(jax.random.split(jax.random.key(0), 64))["params"]
    )
    left, _ = posterior_spread(draws, where=lambda path, mean: "column2_" in path).axes
    ((low, high, middle),) = spans(left)
    assert low < middle < high and middle == pytest.approx(0.25, rel=0.3)


def test_names_are_not_cut_off(collisions):
    figure = posterior_spread(jf.MeanField(PARAMS))
    assert not collisions(figure, figure.axes[0].get_yticklabels())


def test_bad_inputs():
    with pytest.raises(jf.InputError, match="`posterior` must be a posterior of jfractal"):
        posterior_spread(PARAMS)  # pyright: ignore
    with pytest.raises(jf.InputError, match=r"`where` must pick from 1 to 300 .* it picks 0"):
        posterior_spread(jf.MeanField(PARAMS), where=lambda path, mean: False)
    with pytest.raises(jf.InputError, match="picks 0"):
        posterior_spread(jf.Point({"params": jf.mean(PARAMS)}))
