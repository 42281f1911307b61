"""Bayesian fractal nets: how sure weights start, and by how much the epistemic entropy is ahead."""

import jax
import pytest

import jfractal as jf
from experiments import _nets as nets
from experiments._pruning import stds
from experiments.cifar_bayes_fractal import PRESETS, margins
from experiments.rows import Rows


@pytest.mark.parametrize("method", ["mean field", "IVON"])
def test_standard_deviations_start_where_they_are_said_to(method):
    config = PRESETS["quick"]
    of = config.by_method()[method]
    net = nets.fractal_net(config, 4, of)
    key, x = jax.random.key(0), jax.numpy.zeros((1, 8, 8, 3))
    begun = nets.method_of(config, of, net, 100)
    state = begun.init(net.init(key, x), key)
    if method == "IVON":  # which does not know of how many data before its first step
        batch = (jax.numpy.zeros((6, 8, 8, 3)), jax.numpy.zeros(6, int))
        state = begun.update(state, batch, key, 100)[0]
    found = stds(begun.posterior(state), of.start_std(100))
    assert found["std_ratio"] == pytest.approx(1, rel=1e-3)
    assert isinstance(begun.posterior(state), jf.MeanField)


def test_margins_are_those_of_one_seed():
    rows = Rows()
    for seed, (single, total, epistemic) in enumerate([(0.5, 0.6, 0.75), (0.75, 0.5, 0.25)]):
        rows.add({"auroc_total": single}, method="deterministic", seed=seed)
        rows.add({"auroc_total": total, "auroc_epistemic": epistemic}, method="IVON", seed=seed)
    found = margins(rows)
    assert found.values("above_total", method="IVON").tolist() == pytest.approx([0.15, -0.25])
    assert found.values("above_deterministic").tolist() == pytest.approx([0.25, -0.5])
