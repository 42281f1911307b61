from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.inference.draw_store import DrawStore
from tests.inference.conftest import flat

SHORT = {"num_warmup": 30, "num_samples": 20}

# Compiles in half the time of `nuts`.
hmc = partial(jf.hmc, trajectory_length=1.5)


@pytest.fixture(scope="module")
def chains(problem):
    return jf.nuts(
        problem.log_joint, problem.init, jax.random.key(4), num_warmup=200, num_samples=500
    )


def test_chains_are_a_posterior_like_any_other(problem, chains):
    outputs = jf.sample_outputs(
        problem.net.apply, chains, problem.x, jax.random.key(0), num_samples=2000
    )
    design = problem.design
    exact = np.sqrt(np.einsum("ni,ij,nj->n", design, problem.covariance, design))
    np.testing.assert_allclose(outputs[..., 0].std(0), exact, rtol=0.25)
    np.testing.assert_allclose(outputs[..., 0].mean(0), design @ problem.mean, atol=0.06)
    assert chains.outputs(problem.net.apply, problem.x).shape == (4, 500, 30, 1)


def test_draws_lie_chain_after_chain(chains):
    biases = chains.samples.params["bias"]
    np.testing.assert_array_equal(biases[500:1000], chains.params["bias"][1])
    first_of_last_chain = chains.sample_at(0.75, jax.random.key(0))["params"]["bias"]
    np.testing.assert_array_equal(first_of_last_chain, chains.params["bias"][3, 0])


def test_what_is_known_of_a_draw_is_its_own(problem, chains):
    of_draws = jax.vmap(jax.vmap(problem.log_joint))(chains.params)
    np.testing.assert_allclose(chains.statistics["log_joint"], of_draws, rtol=1e-4)
    assert (chains.statistics["num_gradients"] >= 1).all() and chains.warmup_gradients.shape == (4,)


def test_one_chain(problem):
    chains = jf.nuts(problem.log_joint, problem.init, jax.random.key(4), num_chains=1, **SHORT)
    assert flat(chains.params).shape == (1, 20, 3)


@pytest.mark.parametrize("method", [pytest.param(jf.nuts, marks=pytest.mark.slow), hmc])
def test_a_chain_is_the_same_alone_as_among_others(problem, method):
    """In double precision, in which rounding does not part the trajectories so soon."""
    run = lambda **options: flat(
        method(
            problem.log_joint,
            problem.init,
            jax.random.key(4),
            precision="float64",
            **SHORT,
            **options,
        ).params
    )
    together = run(num_chains=2)
    np.testing.assert_allclose(run(num_chains=1)[0], together[0], rtol=1e-4)
    np.testing.assert_allclose(run(num_chains=2, devices=jax.devices()), together, rtol=1e-4)


def test_thinning_skips_draws(problem):
    run = lambda **options: hmc(
        problem.log_joint, problem.init, jax.random.key(4), num_warmup=30, **options
    )
    every, third = run(num_samples=12), run(num_samples=4, thinning=3)
    np.testing.assert_array_equal(flat(every.params)[:, 2::3], flat(third.params))
    gradients = every.statistics["num_gradients"].reshape(4, 4, 3).sum(-1)
    np.testing.assert_array_equal(gradients, third.statistics["num_gradients"])


class Cut(Exception):
    """The process ends here."""


@pytest.mark.parametrize("looks", [2, 6])  # in warm-up and after it
def test_a_run_that_was_cut_off_has_the_draws_of_one_that_was_not(
    problem, tmp_path, monkeypatch, looks
):
    run = lambda directory: hmc(
        problem.log_joint,
        problem.init,
        jax.random.key(4),
        directory=directory,
        num_warmup=30,
        num_samples=60,
    )
    whole = run(None)
    keep, left = DrawStore.keep, iter(range(looks))

    def cut(store, *arguments, **options):
        if next(left, None) is None:
            raise Cut
        keep(store, *arguments, **options)

    monkeypatch.setattr(DrawStore, "keep", cut)
    with pytest.raises(Cut):
        run(tmp_path)
    monkeypatch.setattr(DrawStore, "keep", keep)
    resumed = run(tmp_path)
    assert isinstance(resumed.params["bias"], np.memmap)
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    jax.tree.map(np.testing.assert_array_equal, whole, run(tmp_path))  # nothing is left to do
    jf.sample_outputs(problem.net.apply, resumed, problem.x, jax.random.key(0), num_samples=3)


@pytest.fixture(scope="module")
def begun(problem, tmp_path_factory):
    """A call, and where its chains lie."""
    call = {"log_joint": problem.log_joint, "init": problem.init, "key": jax.random.key(4), **SHORT}
    call["directory"] = str(tmp_path_factory.mktemp("chains"))
    return call, hmc(**call)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_samples": 21}, "plan"),
        ({"target_accept": 0.9}, "kernel"),
        ({"key": jax.random.key(5)}, "key"),
        ({"log_joint": lambda w: -jnp.sum(w["bias"] ** 2)}, "log joint where the chains start"),
    ],
)
def test_the_directory_of_another_run_is_refused(begun, change, reason):
    with pytest.raises(jf.InputError, match=f"another {reason}"):
        hmc(**{**begun[0], **change})


def test_a_directory_that_cannot_be_written_is_refused(problem, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(jf.InputError, match="cannot write"):
        jf.nuts(
            problem.log_joint, problem.init, jax.random.key(4), directory=tmp_path / "file", **SHORT
        )


def test_the_mass_matrix_starts_from_a_mean_field_fit(problem):
    """Given the exact variances, the first steps are as good as adapted ones."""
    scales = {"bias": jnp.array([1e-3]), "kernel": jnp.array([[1.0], [1e3]])}
    log_joint = lambda w: -sum(jnp.sum((w[k] / scales[k]) ** 2) / 2 for k in scales)
    init = lambda key: jax.tree.map(lambda s: s * jax.random.normal(key, s.shape), scales)
    run = lambda inverse_mass: jf.nuts(
        log_joint, init, jax.random.key(0), inverse_mass=inverse_mass, num_warmup=15, num_samples=20
    )
    warm, cold = run(jax.tree.map(jnp.square, scales)), run(None)
    assert warm.warmup_gradients.sum() < cold.warmup_gradients.sum() / 5


def test_quarter_period_takes_a_gaussian_from_its_centre_to_its_shell():
    """Along ``σ √T sin(t / σ √T)``, which a momentum of temperature T follows."""
    assert jf.inference.quarter_period(2.0, temperature=0.25) == pytest.approx(np.pi / 2)
    with pytest.raises(jf.InputError, match="temperature"):
        jf.inference.quarter_period(2.0, temperature=0.0)


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
    assert replace(chains, params=apart).diagnose(weights=True).reasons == diagnosis.reasons


def test_chains_in_two_modes_are_not_trusted():
    """Each mode is as good as the other: the log joint alone would not tell."""
    log_joint = lambda w: jnp.logaddexp(
        *(-jnp.sum((w["bias"] - m) ** 2) / 2 for m in (-20.0, 20.0))
    )
    init = lambda key: {"bias": 20 * jnp.sign(jax.random.normal(key, (1,)))}
    chains = jf.nuts(log_joint, init, jax.random.key(0), num_warmup=100, num_samples=200)
    diagnosis = chains.diagnose(chains.params["bias"])
    assert not diagnosis.converged
    assert "R-hat of the predictions" in str(diagnosis) and "NOT" in str(diagnosis)


def with_statistics(chains, **values):
    return replace(chains, statistics={**chains.statistics, **values})


def test_divergences_and_short_chains_are_said(begun):
    chains = begun[1]
    reasons = with_statistics(chains, divergences=np.eye(4, 20)).diagnose().reasons
    assert any("4 trajectories" in reason for reason in reasons)
    assert any("effective sample size" in reason for reason in reasons)


def test_chains_that_never_moved_are_not_trusted(begun):
    still = with_statistics(begun[1], log_joint=np.ones((4, 20)), energy=np.ones((4, 20)))
    assert any("R-hat" in reason for reason in still.diagnose().reasons)


def test_arviz_finds_what_we_find(chains):
    arviz = pytest.importorskip("arviz")
    theirs = chains.to_arviz()
    for ours, name in (("rhat", "rhat"), ("ess", "ess")):
        found = float(getattr(arviz, name)(theirs["sample_stats"]["lp"].values))
        assert found == pytest.approx(chains.diagnostics[ours], rel=0.02)
    np.testing.assert_array_equal(theirs["posterior"]["kernel"], chains.params["kernel"])
    assert not theirs["sample_stats"]["diverging"].any()


# Bad input


@pytest.mark.parametrize(
    "options",
    [
        {"num_chains": 0},
        {"num_samples": 0},
        {"num_samples": 4.5},
        {"num_warmup": 0},
        {"thinning": 0},
        {"target_accept": 1.0},
        {"max_tree_depth": 0},
        {"precision": "bfloat16"},
        {"num_chains": 3, "devices": jax.devices()[:2]},
        {"inverse_mass": {"bias": jnp.ones(1)}},
        {"inverse_mass": {"bias": jnp.ones(1), "kernel": jnp.zeros((2, 1))}},
    ],
)
def test_bad_input(problem, options):
    with pytest.raises(jf.InputError, match=next(iter(options))):
        jf.nuts(problem.log_joint, problem.init, jax.random.key(0), **options)


def test_a_trajectory_has_a_length(problem):
    with pytest.raises(jf.InputError, match="trajectory_length"):
        jf.hmc(problem.log_joint, problem.init, jax.random.key(0), trajectory_length=0.0)


def test_a_start_without_density_is_refused(problem):
    with pytest.raises(jf.InputError, match="finite where the chains start"):
        jf.nuts(lambda w: jnp.log(-jnp.abs(w["bias"][0])), problem.init, jax.random.key(0))


class Net(nn.Module):
    """With what a posterior over weights has no place for."""

    norm: str = "none"
    dropout: float = 0.0
    train: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=not self.train)(x) if self.norm == "batch" else x
        return nn.Dense(1)(nn.Dropout(self.dropout, deterministic=False)(x))


ONES = {"mean": jnp.zeros(2), "var": jnp.ones(2)}
STATISTICS = {"batch_stats": {"BatchNorm_0": ONES}}


def with_statistics_of(net, **options):
    """An `apply` that knows batch statistics by itself."""
    return lambda variables, x: net.apply({**variables, **STATISTICS}, x, **options)


@pytest.mark.parametrize(
    ("apply", "reason"),
    [
        (Net(norm="batch").apply, "needs more than weights: batch statistics"),
        (with_statistics_of(Net(norm="batch", train=True)), "batch statistics"),
        (
            with_statistics_of(Net(norm="batch", train=True), mutable=["batch_stats"]),
            "cannot be evaluated",
        ),
        (
            lambda *v: with_statistics_of(Net(norm="batch", train=True), mutable=True)(*v)[0],
            "seen together.* batch norm in training mode",
        ),
        (Net(dropout=0.5).apply, "draws random numbers"),
        (
            partial(Net(dropout=0.5).apply, rngs={"dropout": jax.random.key(0)}),
            "seen together.* dropout by a key",
        ),
    ],
)
def test_a_target_that_is_none_is_refused_with_what_to_do(problem, apply, reason):
    log_joint = jf.LogJoint(
        apply,
        (problem.x, problem.y),
        jf.priors.Gaussian(1.0),
        likelihood=jf.likelihoods.Gaussian(1.0),
    )
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    init = lambda key: Net(norm="batch").init(keys, problem.x)["params"]
    with pytest.raises(jf.InputError, match=reason):
        jf.nuts(log_joint, init, jax.random.key(0), **SHORT)


def test_statistics_that_do_not_change_are_no_obstacle(problem):
    net = Net(norm="batch")
    log_joint = jf.LogJoint(
        with_statistics_of(net),
        (problem.x, problem.y),
        jf.priors.Gaussian(1.0),
        likelihood=jf.likelihoods.Gaussian(1.0),
    )
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    hmc(log_joint, lambda key: net.init(keys, problem.x)["params"], jax.random.key(0), **SHORT)


def test_data_that_do_not_fit_the_net_are_refused(problem):
    log_joint = problem.log_joint_of((jnp.ones((30, 5)), problem.y))
    with pytest.raises(jf.InputError, match="shapes of the data"):
        jf.nuts(log_joint, problem.init, jax.random.key(0), **SHORT)


def test_fractal_nets_with_their_own_batch_norm_are_refused():
    net = jf.FractalNet(num_classes=2, columns=2, widths=(2,), norm="batch")
    x, y = jnp.ones((2, 4, 4, 1)), jnp.zeros(2, int)
    log_joint = jf.LogJoint(
        net.apply, (x, y), jf.priors.Gaussian(1.0), jf.likelihoods.Categorical()
    )
    init = lambda key: net.init(key, x)["params"]
    with pytest.raises(jf.InputError, match="batch statistics"):
        jf.nuts(log_joint, init, jax.random.key(0), **SHORT)
