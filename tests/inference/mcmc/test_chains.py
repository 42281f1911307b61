"""Chains: a posterior like any other, and whether to trust it."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

import jfractal as jf
from jfractal import metrics
from tests.inference.conftest import flat
from tests.inference.mcmc.conftest import prior_alone

KEY = jax.random.key(4)

hmc = partial(jf.hmc, trajectory_length=1.5)


@pytest.fixture(scope="module")
def chains(problem, target):
    return jf.nuts(*target, KEY, starts=problem.start, num_warmup=200, num_draws=500)


@pytest.fixture(scope="module")
def short(problem, target):
    return hmc(*target, KEY, starts=problem.start, num_warmup=30, num_draws=20)


def test_chains_are_a_posterior_like_any_other(problem, chains):
    outputs = jf.sample_outputs(
        problem.net.apply, chains, problem.x, jax.random.key(0), num_samples=2000
    )
    design = problem.design
    exact = np.sqrt(np.einsum("ni,ij,nj->n", design, problem.covariance, design))
    np.testing.assert_allclose(outputs[..., 0].std(0), exact, rtol=0.25)
    np.testing.assert_allclose(outputs[..., 0].mean(0), design @ problem.mean, atol=0.06)
    assert chains.outputs(problem.net.apply, problem.x).shape == (4, 500, 30, 1)
    np.testing.assert_allclose(flat(chains.mean()), flat(chains.params).mean((0, 1)), rtol=1e-3)
    np.testing.assert_allclose(flat(chains.variance()), flat(chains.params).var((0, 1)), rtol=1e-3)
    assert "Chains of" in repr(chains) and len(repr(chains).splitlines()) < 20


def test_draws_lie_chain_after_chain(chains):
    biases = chains.samples.params["bias"]
    np.testing.assert_array_equal(biases[500:1000], chains.params["bias"][1])
    first_of_last_chain = chains.member(0.75).mean()["bias"]
    np.testing.assert_array_equal(first_of_last_chain, chains.params["bias"][3, 0])
    drawn = jax.vmap(chains.sample)(jax.random.split(KEY, 100))["params"]["bias"]
    assert len(np.unique(drawn)) > 80 and np.isin(drawn, chains.params["bias"]).all()


def test_what_is_known_of_a_draw_is_its_own(target, chains):
    model, data = target
    of_draws = jax.vmap(jax.vmap(lambda w: model.log_joint(w, data)))(chains.params)
    np.testing.assert_allclose(chains.statistics["log_joint"], of_draws, rtol=1e-4)
    assert (chains.statistics["num_gradients"] >= 1).all() and chains.warmup_gradients.shape == (4,)


def test_chains_come_back_in_another_process(chains, tmp_path):
    chains.save(tmp_path / "chains.npz")
    code = (
        "import sys, jax, jfractal as jf; chains = jf.load(sys.argv[1]);"
        "print(chains.params['bias'].sum(), chains.diagnostics['rhat'])"
    )
    run = [sys.executable, "-c", code, tmp_path / "chains.npz"]
    out = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    found = float(chains.params["bias"].sum()), chains.diagnostics["rhat"]
    np.testing.assert_allclose([float(x) for x in out], found, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, jf.load(tmp_path / "chains.npz"), chains)


# Diagnosis


def test_chains_that_agree_are_trusted(problem, chains):
    diagnosis = chains.diagnose(chains.outputs(problem.net.apply, problem.x))
    assert diagnosis.converged, str(diagnosis)
    assert diagnosis.figures["rhat_predictions"] < 1.01
    assert "agree" in str(diagnosis)


def test_weights_are_judged_on_request_and_have_no_say(problem, chains):
    diagnosis = chains.diagnose(weights=True)
    for name, judge, worst in (("rhat", jf.metrics.rhat, max), ("ess", jf.metrics.ess, min)):
        expected = worst(judge(flat(chains.params)).tolist())
        assert diagnosis.figures[f"{name}_weights"] == pytest.approx(expected)
    assert "ess_tail_weights" in diagnosis.figures
    assert "rhat_weights" not in chains.diagnose().figures
    apart = {"w": jnp.arange(4.0)[:, None, None] + chains.params["bias"]}
    assert (
        replace(chains, variables={"params": apart}).diagnose(weights=True).reasons
        == diagnosis.reasons
    )


class TwoModes(jf.priors.Prior):
    """Each as good as the other."""

    def at(self, path, shape):
        return self

    def log_prob(self, w):
        return jnp.logaddexp(norm.logpdf(w, -20.0), norm.logpdf(w, 20.0))


def test_chains_in_two_modes_are_not_trusted():
    """The log joint alone would not tell."""
    starts = lambda key: {"bias": 20 * jnp.sign(jax.random.normal(key, (1,)))}
    options = {"num_warmup": 100, "num_draws": 200}
    chains = hmc(*prior_alone(TwoModes()), jax.random.key(0), starts=starts, **options)
    diagnosis = chains.diagnose(chains.params["bias"])
    assert not diagnosis.converged
    assert "R-hat of the predictions" in str(diagnosis) and "NOT" in str(diagnosis)


def with_statistics(chains, **values):
    return replace(chains, statistics={**chains.statistics, **values})


def test_divergences_and_short_chains_are_said(short):
    reasons = with_statistics(short, divergences=np.eye(4, 20)).diagnose().reasons
    assert any("4 trajectories" in reason for reason in reasons)
    assert any("effective sample size" in reason for reason in reasons)


def test_energies_that_change_slowly_are_said(short):
    """The E-BFMI of the worst chain, by `metrics`, whose oracle is ArviZ."""
    energy = np.random.default_rng(0).standard_normal((4, 20))
    energy[2] = np.linspace(0, 1, 20)
    slow = with_statistics(short, energy=energy).diagnose()
    assert slow.figures["ebfmi"] == metrics.ebfmi(energy).min() < 0.1
    assert any("E-BFMI" in reason for reason in slow.reasons)
    fast = with_statistics(short, energy=energy[[0, 0, 1, 1]]).diagnose()
    assert not any("E-BFMI" in reason for reason in fast.reasons)


def test_chains_that_never_moved_are_not_trusted(short):
    still = with_statistics(short, log_joint=np.ones((4, 20)), energy=np.ones((4, 20)))
    assert any("R-hat" in reason for reason in still.diagnose().reasons)


def nested(short):
    """Chains of a net of layers within layers, one of which is not sampled."""
    kernel = np.random.default_rng(0).normal(size=(4, 20, 3, 2)).astype(np.float32)
    still = np.ones((4, 1, 2), np.float32)
    params = {"block1": {"conv": {"kernel": kernel, "bias": kernel[..., 0]}}, "head": still}
    return replace(short, variables={"params": params})


def test_chains_of_several_runs_stand_side_by_side(chains, short):
    both = jf.Chains.joined([chains, replace(chains, warmup_gradients=np.zeros(4))])
    assert (both.num_chains, both.num_draws) == (8, 500)
    np.testing.assert_array_equal(both.params["bias"][4:], chains.params["bias"])
    assert both.diagnose().figures["divergences"] == 2 * chains.diagnostics["divergences"]
    np.testing.assert_allclose(flat(both.mean()), flat(chains.mean()), rtol=1e-5)
    parts = nested(short), nested(short)
    assert jf.Chains.joined(parts).variables["params"]["head"].shape == (8, 1, 2)
    with pytest.raises(jf.InputError, match="`parts` must be alike in their weights"):
        jf.Chains.joined([chains, short])
    for wrong in ([], [chains, 1], chains):
        with pytest.raises(jf.InputError, match="`parts` must be a list of `Chains`, got"):
            jf.Chains.joined(wrong)


@pytest.fixture(scope="module")
def arviz():
    return pytest.importorskip("arviz")


def test_arviz_finds_what_we_find(chains, arviz):
    theirs = chains.to_arviz()
    for ours, name in (("rhat", "rhat"), ("ess", "ess")):
        found = float(getattr(arviz, name)(theirs["sample_stats"]["lp"].values))
        assert found == pytest.approx(chains.diagnostics[ours], rel=0.02)
    np.testing.assert_array_equal(theirs["posterior"]["kernel"], chains.params["kernel"])
    assert not theirs["sample_stats"]["diverging"].any()


def test_arviz_reads_nested_names_back_from_a_file(short, arviz, tmp_path):
    """Not a name is lost or becomes a group, and not a bit changes, whichever line it is."""
    chains = with_statistics(nested(short), divergences=np.eye(4, 20))
    chains.to_arviz().to_netcdf(tmp_path / "chains.nc")
    found = arviz.from_netcdf(tmp_path / "chains.nc")
    conv = chains.params["block1"]["conv"]
    assert set(found["posterior"].data_vars) == {"block1.conv.kernel", "block1.conv.bias"}
    for name, weights in conv.items():
        read = found["posterior"][f"block1.conv.{name}"]
        assert read.dims[:2] == ("chain", "draw") and read.dtype == np.float32
        np.testing.assert_array_equal(read, weights)
    np.testing.assert_array_equal(found["sample_stats"]["diverging"], np.eye(4, 20) > 0)
    assert {"lp", "energy", "acceptance_rate", "n_steps"} <= set(found["sample_stats"].data_vars)
    summary = arviz.summary(found, kind="diagnostics")
    assert len(summary) == conv["kernel"][0, 0].size + conv["bias"][0, 0].size


def test_arviz_needs_names_that_differ(short, arviz):
    w = np.ones((4, 20))
    both = replace(short, variables={"params": {"a": {"b": w}, "a.b": w}})
    with pytest.raises(jf.InputError, match=r"`to_arviz` needs paths that differ"):
        both.to_arviz()
    alone = replace(short, variables={"params": w})
    assert set(alone.to_arviz()["posterior"].data_vars) == {"params"}
