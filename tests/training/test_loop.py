"""The loop on a tiny fractal net: the same trajectory whatever interrupts it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.errors import DivergenceError, InputError
from jfractal.training import (
    Checkpoints,
    DropPath,
    Trainer,
    TrainState,
    cross_entropy,
    kl_weight,
    negative_elbo,
)
from jfractal.training.objective import Loss

NET = jf.FractalNet(3, columns=2, widths=(4,))
TX = optax.sgd(0.1, 0.9)
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(20, 4, 4, 1)).astype(np.float32)
LABELS = RNG.integers(0, 3, 20).astype(np.int32)


def prepare(key, images):
    return images + 0.1 * jax.random.normal(key, images.shape)


def start(net=NET):
    return TrainState.create(net.init(jax.random.key(0), IMAGES[:1]), TX)


OBJECTIVE = cross_entropy(NET, prepare, drop_path=0.3)


def trainer(checkpoints=None, num_epochs=3, objective=OBJECTIVE, seed=0, **options):
    return Trainer(objective, TX, DropPath(2, 0.5), num_epochs, 8, seed, 1, checkpoints, **options)


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def uninterrupted():
    rows = []
    state = trainer().fit(start(), IMAGES, LABELS, log=rows.append, evaluate=lambda s: {"v": 1.0})
    return state, rows


def test_logs_every_step_and_every_epoch(uninterrupted):
    state, rows = uninterrupted
    assert int(state.step) == 6  # 20 images are two full batches of 8
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [(row["step"], row["epoch"]) for row in rows if "v" in row] == [(2, 1), (4, 2), (6, 3)]
    routes = [DropPath(2, 0.5).route(0, step) or 0 for step in range(6)]
    assert [row["column"] for row in rows if "loss" in row] == routes


def test_continued_from_a_checkpoint_ends_the_same_bit_for_bit(uninterrupted, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    trainer(checkpoints, num_epochs=1).fit(start(), IMAGES, LABELS)
    state = checkpoints.restore(start())
    assert int(state.step) == 2
    assert_equal(trainer().fit(state, IMAGES, LABELS), uninterrupted[0])


def test_interrupted_within_an_epoch_it_saves_and_ends_the_same(uninterrupted, tmp_path):
    checkpoints = Checkpoints(tmp_path)

    def interrupt(row):
        if row["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(checkpoints).fit(start(), IMAGES, LABELS, log=interrupt)
    state = checkpoints.restore(start())
    assert 2 <= int(state.step) < 6
    assert_equal(trainer().fit(state, IMAGES, LABELS), uninterrupted[0])


def test_devices_that_share_a_batch_average_to_one_device():
    net = jf.FractalNet(3, columns=2, widths=(4,), norm="group")  # no statistics of a batch
    objective = cross_entropy(net, lambda key, images: images, drop_path=0.0)
    one, two = (
        trainer(objective=objective, num_devices=n).fit(start(net), IMAGES, LABELS) for n in (1, 2)
    )
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_every_device_draws_for_itself_and_returns_the_mean():
    def noisy(params, variables, batch, key, route, step):
        noise = jax.random.normal(key)
        metrics = {"noise": noise, "square": noise**2, "images": batch[0].mean()}
        return Loss(params["w"] * noise, metrics, {"last": noise})

    rows = []
    state = TrainState.create({"params": {"w": jnp.ones(())}, "last": jnp.zeros(())}, TX)
    state = trainer(objective=noisy, num_devices=2, num_epochs=1).fit(
        state, IMAGES, LABELS, log=rows.append
    )
    assert all(row["square"] > row["noise"] ** 2 + 1e-3 for row in rows if "noise" in row)
    assert float(state.variables["last"]) == pytest.approx(rows[-2]["noise"])
    assert state.params["w"].devices() == {jax.devices()[0]}


@pytest.mark.parametrize("num_devices", [0, 3, 1000])
def test_devices_that_cannot_share_a_batch(num_devices):
    with pytest.raises(InputError, match="`num_devices` must be between 1 and 2"):
        trainer(num_devices=num_devices).fit(start(), IMAGES, LABELS)


def test_another_seed_is_another_trajectory(uninterrupted):
    other = trainer(seed=1).fit(start(), IMAGES, LABELS)
    with pytest.raises(AssertionError):
        assert_equal(other.params, uninterrupted[0].params)


def test_a_finished_run_is_left_alone(uninterrupted):
    state = jax.tree.map(jnp.copy, uninterrupted[0])
    assert_equal(trainer().fit(state, IMAGES, LABELS), uninterrupted[0])


def test_a_nan_stops_and_keeps_the_checkpoint(tmp_path):
    def broken(params, variables, batch, key, route, step):
        value = jnp.where(variables["n"] >= 3, jnp.nan, params["w"] ** 2)
        return Loss(value, {"loss": value}, {"n": variables["n"] + 1})

    checkpoints = Checkpoints(tmp_path)
    state = TrainState.create({"params": {"w": jnp.ones(())}, "n": jnp.zeros((), int)}, TX)
    with pytest.raises(DivergenceError, match="`loss` is nan at step 4: try a smaller learning"):
        trainer(checkpoints, objective=broken).fit(state, IMAGES, LABELS)
    kept = checkpoints.restore(
        TrainState.create({"params": {"w": jnp.ones(())}, "n": jnp.zeros((), int)}, TX)
    )
    assert int(kept.step) == 2 and jnp.isfinite(kept.params["w"])


def test_a_lone_column_leaves_the_others_without_gradient():
    objective = cross_entropy(NET, prepare, drop_path=0.0)
    state = start()

    def value(params):
        batch = IMAGES[:8], LABELS[:8]
        return objective(params, state.variables, batch, jax.random.key(0), 1, 0).value

    gradient = jax.grad(value)(state.params)["block1"]
    assert all((g == 0).all() for g in jax.tree.leaves(gradient["column2_unit1"]))
    assert any((g != 0).any() for g in jax.tree.leaves(gradient["column1_unit1"]))


def test_elbo_trains_a_bayesian_net():
    net = jf.FractalNet(3, columns=2, widths=(4,), conv=jf.BayesConv, norm="group")
    objective = negative_elbo(
        net, prepare, drop_path=0.3, prior=jf.priors.Gaussian(1.0), num_data=20, kl_weight=0.01
    )
    rows = []
    state = trainer(objective=objective, num_epochs=15).fit(
        start(net), IMAGES, LABELS, log=rows.append
    )
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    row = next(row for row in rows if "kl" in row)
    np.testing.assert_allclose(row["loss"], row["nll"] + 0.01 * row["kl"] / 20, rtol=1e-5)
    accuracies = [row["accuracy"] for row in rows if "kl" in row]
    assert 0 <= np.mean(accuracies[:6]) < np.mean(accuracies[-6:]) <= 1
    assert isinstance(state.params["head"]["kernel"], jf.Gaussian)


def test_the_weight_of_the_kl_follows_its_schedule():
    net = jf.FractalNet(3, columns=2, widths=(4,), conv=jf.BayesConv, norm="group")
    schedule = kl_weight.warm_up(4)
    options = {"drop_path": 0.3, "prior": jf.priors.Gaussian(1.0), "num_data": 20}
    objective = negative_elbo(net, prepare, kl_weight=schedule, **options)
    rows = []
    trainer(objective=objective).fit(start(net), IMAGES, LABELS, log=rows.append)
    rows = [row for row in rows if "kl" in row]
    weights = [20 * (row["loss"] - row["nll"]) / row["kl"] for row in rows]
    np.testing.assert_allclose(weights, [0, 0.25, 0.5, 0.75, 1, 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("batch_size", "num_epochs"), [(0, 1), (21, 1), (8, 0)])
def test_bad_input(batch_size, num_epochs):
    bad = Trainer(OBJECTIVE, TX, DropPath(2), num_epochs, batch_size, 0)
    with pytest.raises(InputError, match="`num_epochs`" if batch_size == 8 else "`batch_size`"):
        bad.fit(start(), IMAGES, LABELS)


def test_labels_that_do_not_belong_to_the_images():
    with pytest.raises(InputError, match=f"`labels` must be as many as `images`, {len(IMAGES)}"):
        trainer().fit(start(), IMAGES, LABELS[:-1])
    with pytest.raises(DivergenceError, match=r"no output for some label \(they go from 0 to 99\)"):
        trainer().fit(start(), IMAGES, np.where(np.arange(20) == 0, 0, 99))


def test_state_keeps_what_a_model_needs():
    variables = nn.BatchNorm(use_running_average=True).init(jax.random.key(0), IMAGES)
    state = TrainState.create(variables, TX)
    assert_equal(state.model, variables)
