import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.errors import InputError
from jfractal.inference import kl_weight


def values(schedule, num_steps):
    """At each step, as a number and as an array under jit."""
    eager = np.array([float(schedule(step)) for step in range(num_steps)])
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(jnp.arange(num_steps)), eager, rtol=1e-6)
    return eager


def test_blundell_halves_from_batch_to_batch():
    epoch = 3 * np.array([4, 2, 1]) / 7
    np.testing.assert_allclose(values(kl_weight.blundell(3), 6), np.tile(epoch, 2), rtol=1e-6)
    np.testing.assert_array_equal(values(kl_weight.blundell(1), 2), 1)


@pytest.mark.parametrize("num_batches", [2, 30, 400, 5000])
def test_blundell_spends_the_whole_kl_in_an_epoch(num_batches):
    weights = jax.vmap(kl_weight.blundell(num_batches))(jnp.arange(num_batches))
    assert jnp.isfinite(weights).all() and (weights >= 0).all()
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-5)


def test_warm_up_ends_at_1():
    np.testing.assert_allclose(
        values(kl_weight.warm_up(4), 7), [0, 0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-6
    )


def test_cycles_begin_anew():
    cycle = [0, 0.5, 1, 1]
    np.testing.assert_allclose(values(kl_weight.cyclic(4), 8), cycle * 2, rtol=1e-6)
    ramp = values(kl_weight.cyclic(4, ramp=1.0), 4)
    np.testing.assert_allclose(ramp, [0, 0.25, 0.5, 0.75], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kl_weight.blundell(0), "`num_batches` must be at least 1, got 0"),
        (lambda: kl_weight.warm_up(0), "`num_steps` must be at least 1, got 0"),
        (lambda: kl_weight.cyclic(0), "`period` must be at least 1, got 0"),
        (lambda: kl_weight.cyclic(4, ramp=0.0), r"`ramp` must be in \(0, 1\], got 0.0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
