"""The experiment's NUTS, one program for all data sets, is the posterior's."""

from dataclasses import replace
from functools import partial

import jax
import pytest

from experiments.sbc import PRESETS, ChainsConfig, fit, simulator
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
