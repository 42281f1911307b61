"""Tests for inference methods, including your own: known posteriors, simulation-based calibration.

A method is a function ``fit(model, start, data, key) -> posterior``, e.g. a method of
`jfractal.inference` in the loop of `jfractal.fit`::

    from jfractal import testing

    def fit(model, start, data, key):
        method = jf.variational(model, optax.adam(1e-2))
        return jf.fit(method, start, data, key, num_steps=5000).posterior

    testing.assert_exact(fit, testing.ConjugateRegression.random(key), key)
    testing.assert_exact(fit, testing.GaussianTarget.random(key, condition=100.0), key)
    testing.assert_calibrated(fit, testing.ConjugateRegression.random(key).simulator, key)
"""

from jfractal.testing.calibration import Calibration as Calibration
from jfractal.testing.calibration import assert_calibrated as assert_calibrated
from jfractal.testing.calibration import simulate_ranks as simulate_ranks
from jfractal.testing.conjugate import ConjugateRegression as ConjugateRegression
from jfractal.testing.draws import Draws as Draws
from jfractal.testing.draws import draws_of as draws_of
from jfractal.testing.gaussian import GaussianTarget as GaussianTarget
from jfractal.testing.moments import Moments as Moments
from jfractal.testing.moments import assert_covariance as assert_covariance
from jfractal.testing.moments import assert_exact as assert_exact
from jfractal.testing.moments import assert_mean as assert_mean
from jfractal.testing.moments import assert_mean_field as assert_mean_field
from jfractal.testing.simulator import Simulator as Simulator
from jfractal.testing.simulator import invariants as invariants
