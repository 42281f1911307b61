"""What Markov chains cannot sample is refused, with what to do."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import jfractal as jf

KEY = jax.random.key(0)
SHORT = {"num_warmup": 30, "num_draws": 20}


@pytest.mark.parametrize(
    "options",
    [
        {"num_chains": 0},
        {"num_draws": 0},
        {"num_draws": 4.5},
        {"num_warmup": 0},
        {"thinning": 0},
        {"batch_size": 0},
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"target_accept": 1.0},
        {"max_tree_depth": 0},
        {"precision": "bfloat16"},
        {"num_chains": 3, "devices": jax.devices()[:2]},
        {"inverse_mass": {"bias": jnp.ones(1)}},
        {"inverse_mass": {"bias": jnp.ones(1), "kernel": jnp.zeros((2, 1))}},
    ],
)
def test_bad_input(problem, target, options):
    with pytest.raises((jf.InputError, TypeError), match=next(iter(options))):
        jf.nuts(*target, KEY, starts=problem.start, **options)


def test_a_trajectory_has_a_length(problem, target):
    with pytest.raises(jf.InputError, match="trajectory_length"):
        jf.hmc(*target, KEY, starts=problem.start, trajectory_length=0.0)


def test_a_model_and_data_are_asked_for(problem, target):
    model, (x, y) = target
    for wrong in ((model.apply, (x, y)), (model, (x, y[:-1])), (model, (x, y.at[0].set(jnp.nan)))):
        with pytest.raises((jf.InputError, TypeError)):
            jf.nuts(*wrong, KEY, starts=problem.start, **SHORT)


def test_labels_out_of_range_are_refused(problem, target):
    (x, _), likelihood = target[1], jf.likelihoods.Categorical()
    model = jf.Model(nn.Dense(3).apply, prior=jf.priors.Gaussian(1.0), likelihood=likelihood)
    starts = lambda key: nn.Dense(3).init(key, x)["params"]
    for y in (jnp.full(30, 3), jnp.full(30, -1)):
        with pytest.raises(jf.InputError, match=r"labels in \[0, 3\)"):
            jf.nuts(model, (x, y), KEY, starts=starts, **SHORT)


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


def model_of(apply):
    return jf.Model(apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Gaussian(1.0))


@pytest.mark.parametrize(
    ("apply", "reason"),
    [
        (Net(norm="batch").apply, "batch statistics"),
        (with_statistics_of(Net(norm="batch", train=True)), "batch statistics"),
        (
            with_statistics_of(Net(norm="batch", train=True), mutable=["batch_stats"]),
            "`model`|`likelihood`|`apply`",
        ),
        (
            lambda *v: with_statistics_of(Net(norm="batch", train=True), mutable=True)(*v)[0],
            "seen together.* batch norm in training mode",
        ),
        (Net(dropout=0.5).apply, "needs a random stream"),
        (
            partial(Net(dropout=0.5).apply, rngs={"dropout": KEY}),
            "seen together.* dropout by a fixed key",
        ),
    ],
)
def test_a_target_that_is_none_is_refused_with_what_to_do(problem, target, apply, reason):
    keys = {"params": KEY, "dropout": jax.random.key(1)}
    starts = lambda key: Net(norm="batch").init(keys, problem.x)["params"]
    with pytest.raises(jf.InputError, match=reason):
        jf.nuts(model_of(apply), target[1], KEY, starts=starts, **SHORT)


def test_statistics_that_do_not_change_are_no_obstacle(problem, target):
    net = Net(norm="batch")
    keys = {"params": KEY, "dropout": jax.random.key(1)}
    starts = lambda key: net.init(keys, problem.x)["params"]
    model = model_of(with_statistics_of(net))
    jf.hmc(model, target[1], KEY, starts=starts, trajectory_length=1.5, **SHORT)


def test_data_that_do_not_fit_the_net_are_refused(problem, target):
    data = jnp.ones((30, 5)), problem.y
    with pytest.raises(jf.InputError, match=r"shapes of the data|of shape \(30, 5\)"):
        jf.nuts(target[0], data, KEY, starts=problem.start, **SHORT)


def test_fractal_nets_with_their_own_batch_norm_are_refused():
    net = jf.FractalNet(num_classes=2, columns=2, widths=(2,), norm="batch")
    x, y = jnp.ones((2, 4, 4, 1)), jnp.zeros(2, int)
    model = jf.Model(
        net.apply, prior=jf.priors.Gaussian(1.0), likelihood=jf.likelihoods.Categorical()
    )
    starts = lambda key: net.init(key, x)["params"]
    with pytest.raises(jf.InputError, match="batch statistics"):
        jf.nuts(model, (x, y), KEY, starts=starts, **SHORT)
