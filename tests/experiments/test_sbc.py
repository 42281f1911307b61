"""The experiment's NUTS, one program for all data sets, is the posterior's."""

from dataclasses import replace
from functools import partial

import jax
import pytest

from experiments.rows import Rows
from experiments.sbc import FINDING, PRESETS, ChainsConfig, fit, simulator
from jfractal import testing


@pytest.mark.slow
def test_nuts_is_calibrated():
    config = PRESETS["quick"]
    config = replace(
        config,
        fit=replace(config.fit, num_samples=99),
        chains=ChainsConfig(num_warmup=200, thinning=3),
    )
    nuts = partial(fit, config, "NUTS")
    testing.assert_calibrated(nuts, simulator(config.linear), jax.random.key(0))


def test_the_finding_names_the_methods_that_pass():
    found = Rows()
    for model, method, p_value in (
        ("linear", "NUTS", 1.0),
        ("linear", "Laplace, full", 0.2),
        ("linear", "SWAG", 0.0),
        ("net", "SWAG", 1e-9),
    ):
        found.add({"p_value": p_value}, model=model, method=method)
    assert FINDING(found) == (
        "the methods that are calibrated at p ≥ 0.01 are NUTS; Laplace, full (on linear) "
        "and none (on net)"
    )
