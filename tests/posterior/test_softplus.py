import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.posterior.softplus import log_softplus, softplus

RHOS = [-200.0, -88.0, -59.0, -16.0, -15.0, -14.0, -4.0, 0.0, 3.0, 50.0, 1e4]


def exact(name, order, rho):
    """In double precision."""
    with np.errstate(over="ignore"):
        value, slope = np.log1p(np.exp(np.minimum(rho, 700))), 1 / (1 + np.exp(-rho))
    value, bend = np.where(rho > 700, rho, value), slope * (1 - slope)
    if name == "softplus":
        return (value, slope, bend)[order]
    return (np.log(value), slope / value, bend / value - (slope / value) ** 2)[order]


@pytest.mark.parametrize("function", [softplus, log_softplus], ids=["softplus", "log_softplus"])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_values_and_derivatives_at_every_magnitude(function, order):
    name, derivative = function.__wrapped__.__name__, function
    for _ in range(order):
        derivative = jax.grad(derivative)
    found = jax.vmap(derivative)(jnp.array(RHOS))
    wanted = exact(name, order, np.array(RHOS))
    # Second derivatives far below 0 are taken for 0.
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-25 if order < 2 else 1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("function", [softplus, log_softplus])
def test_derivatives_of_half_precision_are_finite(function, dtype):
    rhos = jnp.array([-jnp.inf, -1e4, -60, -15, 0, 1e4], dtype)
    for derivative in (jax.grad(function), jax.grad(jax.grad(function))):
        found = jax.vmap(derivative)(rhos)
        assert found.dtype == dtype and np.isfinite(np.asarray(found, np.float32)).all()


def test_an_optimiser_does_not_compute_them_anew_for_each_of_its_moments():
    def moments(rho, x, m, v):
        gradient = jax.grad(lambda rho: (jnp.floor(x) * softplus(rho)).sum())(rho)
        return m + gradient, v + gradient**2

    args = [jnp.ones(10_000)] * 4
    text = jax.jit(moments).lower(*args).compile().as_text()
    assert text.count(" floor(") == 1
