import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.stats import multivariate_normal

import jfractal as jf
from jfractal.testing import GaussianTarget, Moments

KEY = jax.random.key(0)


@pytest.mark.parametrize("dimension", [2, 7])
def test_log_joint_differs_from_the_density_by_a_constant(dimension):
    target = GaussianTarget.random(KEY, dimension=dimension, condition=50.0)
    points = [target.start(key) for key in jax.random.split(KEY, 5)]
    exact = multivariate_normal(target.exact.mean, target.exact.covariance)
    difference = [
        target.model.log_joint(w, target.data)
        - exact.logpdf(np.asarray(ravel_pytree(w)[0], np.float64))
        for w in points
    ]
    np.testing.assert_allclose(difference, difference[0], atol=2e-3)
    assert np.ptp([target.model.log_joint(w, target.data) for w in points]) > 1.0


def test_condition_number():
    target = GaussianTarget.random(KEY, dimension=6, condition=200.0)
    values = np.linalg.eigvalsh(target.exact.covariance)
    np.testing.assert_allclose([values[0], values[-1]], [1 / 200, 1.0], rtol=1e-9)


def test_any_covariance():
    moments = Moments(np.array([5.0, -3.0]), np.array([[2.0, 0.9], [0.9, 0.5]]))
    target = GaussianTarget(moments)
    log_joint = lambda w: target.model.log_joint(w, target.data)
    tree = lambda w: {"hidden": {"kernel": w[:1, None]}, "output": {"bias": w[1:]}}
    mode = jax.numpy.asarray(moments.mean, "float32")
    slope = jax.grad(lambda w: log_joint(tree(w)))(mode)
    hessian = jax.hessian(lambda w: log_joint(tree(w)))(mode)
    np.testing.assert_allclose(slope, 0.0, atol=1e-4)
    np.testing.assert_allclose(-hessian, np.linalg.inv(moments.covariance), rtol=1e-4)


def test_bad_input():
    for options in ({"dimension": 1}, {"condition": 0.5}):
        with pytest.raises(jf.InputError, match=next(iter(options))):
            GaussianTarget.random(KEY, **options)
    with pytest.raises(jf.InputError, match=r"\(3, 3\), got shape \(2, 2\)"):
        GaussianTarget(Moments(np.zeros(3), np.eye(2)))
    with pytest.raises(jf.InputError, match="`covariance` must be symmetric"):
        GaussianTarget(Moments(np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]])))
