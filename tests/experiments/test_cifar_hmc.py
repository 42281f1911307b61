"""CIFAR-10 beside the published predictions of HMC: the table, its order, and what a run costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from experiments._from_member import METHODS, Fits, num_passes
from experiments._hmc_table import FILE, checked, with_table
from experiments._perceptron import Perceptron, classifier, start
from experiments.cifar_hmc import NETS, PRESETS, net_of
from experiments.run import Options, Run
from jfractal.data import ImageData

FEW = {"num_train": 3, "num_test": 5}
LABELS = np.arange(20, dtype=np.int32) % 10
TABLE = np.eye(10, dtype=np.float32)[LABELS]


def images(name="CIFAR-10"):
    """Images that tell their number, as many for training as for the test."""
    pixels = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None, None], (20, 8, 8, 3))
    return ImageData(name, "cifar10", pixels, LABELS, pixels, LABELS, tuple("abcdefghij"))


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Where the table lies, as it is published."""
    monkeypatch.setenv("JFRACTAL_DATA", str(tmp_path))
    path = tmp_path / FILE
    path.parent.mkdir()
    np.savez(path, probs=TABLE, tfds_test_order=np.arange(20))
    return path


def test_rows_of_the_table_are_those_of_the_first_test_images(table):
    source, found = with_table(images(), **FEW, strict=True)
    np.testing.assert_array_equal(found, TABLE[:5])
    np.testing.assert_array_equal(source.test_images[:, 0, 0, 0], np.arange(5))
    np.testing.assert_array_equal(source.test_labels, LABELS[:5])
    np.testing.assert_array_equal(source.train_images[:, 0, 0, 0], np.arange(3))
    assert source.note == ""


def test_a_table_in_another_order_is_refused(table):
    np.savez(table, probs=TABLE[np.random.default_rng(0).permutation(20)])
    with pytest.raises(jf.InputError, match=r"in the order of the test images, but they are right"):
        with_table(images(), **FEW, strict=False)
    np.savez(table, probs=np.roll(TABLE, 1, axis=0))
    with pytest.raises(jf.InputError, match=r"right for 0.0% of them, near the 10% of chance"):
        with_table(images(), **FEW, strict=False)


@pytest.mark.parametrize("other", [TABLE[:-1], TABLE[:, :1], np.full((20, 11), 1 / 11)])
def test_a_table_of_other_data_is_refused(tmp_path, other):
    with pytest.raises(jf.InputError, match=r"a row for each of 20 test images, of 10 classes"):
        checked(other, LABELS, tmp_path)


def test_without_the_table_there_is_no_comparison(tmp_path, monkeypatch):
    monkeypatch.setenv("JFRACTAL_DATA", str(tmp_path))
    with pytest.warns(UserWarning, match="HMC is not available, this is a run without distances"):
        source, found = with_table(images(), **FEW, strict=False)
    assert found is None and len(source.test_labels) == 5
    assert f"set JFRACTAL_DATA to a directory that holds {FILE}" in source.note
    with pytest.raises(jf.InputError, match="table of HMC is not available: set JFRACTAL_DATA"):
        with_table(images(), **FEW, strict=True)


def test_images_that_stand_in_are_not_compared(table):
    source, found = with_table(images("digits (enlarged)"), **FEW, strict=False)
    assert found is None and len(source.test_labels) == 5


def test_the_laptop_preset_takes_an_hour():
    """At 50 GFLOP/s, by the operations of both nets."""
    config = PRESETS["laptop"]
    passes = num_passes(config.fit, config.data.num_train, config.data.num_test)
    nets = [net_of(config.model, name, 10) for name in NETS]
    seconds = passes * sum(net.num_flops((32, 32, 3)) for net in nets) / 50e9
    assert 45 * 60 < seconds < 60 * 60


@pytest.mark.parametrize("name", NETS)
def test_nets_can_be_sampled_by_hmc(name):
    """They have no batch statistics, and Gaussians for weights."""
    net = net_of(PRESETS["quick"].model, name, 10)
    assert {*jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))} == {"params"}
    params = jf.mean(net.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))["params"])
    assert sum(x.size for x in jax.tree.leaves(params)) == net.num_params((8, 8, 3))


def test_gradients_are_counted_and_methods_go_on_from_the_member(tmp_path):
    config = PRESETS["quick"].fit.but(num_epochs=3, num_epochs_after=2, batch_size=4)
    net, data = Perceptron((), 2), (jnp.eye(8), jnp.arange(8) % 2)
    model, begin = classifier(net, 1.0), start(net, data[0])
    with Run.open("counting", Options(out=tmp_path / "run"), "the command") as run:
        fits = Fits(config, run, "net", model, begin, data, jax.random.key(0))
        found = {method: fits.of(method) for method in METHODS}
    assert {method: of.gradients for method, of in found.items()} == {
        "ensemble": 6,
        "MAP": 3,
        **dict.fromkeys(METHODS[2:], 5),
    }
    assert {method: of.num_samples for method, of in found.items()} == {
        **dict.fromkeys(METHODS, 2),
        "MAP": 1,
    }
    member, members = found["MAP"].posterior, found["ensemble"].posterior
    kernel = lambda posterior: posterior.mean()["output"]["kernel"]
    np.testing.assert_array_equal(kernel(member), kernel(members.member(0.0)))
    assert len(found["SGHMC"].posterior) == len(found["SMILE"].posterior) == 2
    moved = jnp.abs(kernel(found["mean field"].posterior) - kernel(member)).max()
    assert 0 < moved < 4 * 1.1 * config.learning_rate  # at most a learning rate in each of 4 steps
