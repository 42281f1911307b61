"""Batches from lists, generators, loaders and functions, fetched by a thread of their own."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.training.batches import THREAD
from jfractal.training.loop import Keys
from tests.training.problems import KEY, MAP, PARAMS, X, Y, same_fit

BATCHES = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)]


def fit(data, num_steps=12, **options):
    return jf.fit(MAP, PARAMS, data, KEY, num_steps=num_steps, **{"num_data": 40} | options)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(5)
            assert not thread.is_alive()


class Loader:
    """As that of torch: it has a length and a data set, and gives lists of what NumPy can read."""

    class Tensor:
        def __init__(self, values):
            self.values = values

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.values, dtype)

    dataset = range(40)

    def __len__(self):
        return 5

    def __iter__(self):
        return ([self.Tensor(x), self.Tensor(y)] for x, y in BATCHES)


class Endless:
    """It can be iterated over anew, and has no length."""

    def __iter__(self):
        return iter(BATCHES)


def generator(number):
    return (BATCHES[i % 5] for i in range(number))


SOURCES = {
    "list": lambda: BATCHES,
    "loader": Loader,
    "endless": Endless,
    "generator": lambda: generator(12),
    "longer generator": lambda: generator(20),
    "function": lambda: lambda epoch: BATCHES,
    "function of generators": lambda: lambda epoch: iter(BATCHES),
}


def test_they_are_the_batches_of_the_arrays_that_they_hold():
    keys = Keys.of(KEY)

    def batches(epoch):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(keys.order, epoch), 40))
        return [(X[i], Y[i]) for i in order.reshape(5, 8)]

    stream, arrays = fit(batches), fit((X, Y), batch_size=8)
    assert stream.history.keys() == arrays.history.keys()
    for name in stream.history:
        np.testing.assert_allclose(stream.history[name], arrays.history[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SOURCES)
def test_all_kinds_give_the_same(name):
    source, expected = SOURCES[name](), fit(BATCHES)
    options = {"num_data": None} if name == "loader" else {}
    actual = fit(source, **options)
    for part in ("step", "loss", "nll"):
        np.testing.assert_array_equal(actual.history[part], expected.history[part])
    known = name in ("list", "loader", "function")
    epochs = np.arange(1, 13) / 5 if known else np.arange(12) // 5
    if "generator" not in name or name.startswith("function"):
        np.testing.assert_allclose(actual.history["epoch"], epochs)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("at", [3, 5, 7])
def test_resumed_they_go_on_where_they_were(name, at, tmp_path):
    def stop(row):
        if row["step"] == at:
            raise KeyboardInterrupt

    validated = []

    def validation(posterior):
        validated.append(1)
        return {"nll": float(len(validated))}

    options = {"validation": validation, "log_every": 1}
    first = fit(SOURCES[name](), directory=tmp_path, callbacks=[stop], **options)
    assert isinstance(first.interrupted, KeyboardInterrupt) and len(first.history["step"]) < 12
    again = fit(SOURCES[name](), directory=tmp_path, **options)
    validated.clear()
    assert same_fit(again, fit(SOURCES[name](), **options))


def test_epochs_of_an_iterable():
    assert len(jf.fit(MAP, PARAMS, Endless(), KEY, num_epochs=2, num_data=40).history["step"]) == 10
    epochs = []

    def batches(epoch):
        epochs.append(epoch)
        return BATCHES[:2]

    validations = []
    validation = lambda posterior: validations.append(1) or {"nll": 1.0}
    options = {"num_epochs": 3, "num_data": 40, "validation": validation}
    result = jf.fit(MAP, PARAMS, batches, KEY, **options)
    assert epochs[:3] == [0, 1, 2] and len(validations) == 3
    np.testing.assert_array_equal(result.history["validation/step"], [2, 4, 6])
    np.testing.assert_array_equal(result.history["validation/epoch"], [1, 2, 3])
    result = jf.fit(MAP, PARAMS, generator(5), KEY, num_epochs=1, num_data=40)
    assert len(result.history["step"]) == 5


def test_a_generator_that_ends_early():
    with pytest.raises(jf.InputError, match="`data` ended after 4 batches, and more steps were"):
        fit(generator(4))
    with pytest.raises(jf.InputError, match="`data` ended after 5 batches"):
        jf.fit(MAP, PARAMS, generator(5), KEY, num_epochs=2, num_data=40)
    for empty in ([], iter([]), lambda epoch: []):
        with pytest.raises(jf.InputError, match="`data` ended after 0 batches"):
            fit(empty)


def with_third(batch):
    return [*BATCHES[:2], batch, *BATCHES[3:]]


X3, Y3 = BATCHES[2]
WRONG = {
    "another shape": ((X3[:7], Y3[:7]), r"batches of the same shapes, .* `drop_last=True`"),
    "no pair": (X3, r"batches of inputs and targets, \(x, y\), got a ndarray"),
    "NaN": ((np.where(X3 > 0, np.nan, X3), Y3), "the inputs must be finite numbers, got a NaN"),
    "other lengths": ((X3[1:], Y3), "the same number of examples"),
    "words": ((X3, np.array(["a"] * 8)), "`data` must be arrays of numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_batches(name):
    batch, match = WRONG[name]
    with pytest.raises(jf.InputError, match=match):
        fit(with_third(batch))
    with pytest.raises(jf.InputError, match=match):
        fit([batch, *BATCHES])


def test_an_error_of_the_iterable_comes_through():
    def broken():
        yield from BATCHES[:2]
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        fit(broken())


def test_what_an_iterable_needs():
    with pytest.raises(jf.InputError, match="`num_data` must be given for an iterable"):
        fit(BATCHES, num_data=None)
    with pytest.raises(jf.InputError, match="`batch_size` is for arrays only"):
        fit(BATCHES, batch_size=8)
    with pytest.raises(jf.InputError, match="`num_data` must be at least 8"):
        fit(BATCHES, num_data=7)


def test_data_that_do_not_fit(tmp_path):
    """A file is read batch by batch, and only as far as it is needed."""
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (40, 4))
    x[:] = X
    read = []

    def batches(epoch):
        for i in range(0, 40, 8):
            read.append(i)
            yield x[i : i + 8], Y[i : i + 8]

    assert same_fit(fit(batches, num_steps=3), fit(lambda e: iter(BATCHES), num_steps=3))
    assert len(read) <= 3 + 4  # those that wait, and the one at hand


def test_batches_that_lie_on_the_device():
    on_device = [jax.tree.map(jnp.asarray, batch) for batch in BATCHES]
    assert same_fit(fit(on_device), fit(BATCHES))


def test_members_share_a_batch():
    method = jf.ensemble(MAP, 2)
    starts = lambda key: jax.tree.map(lambda w: w + jax.random.normal(key, w.shape), PARAMS)
    result = jf.fit(method, starts, BATCHES, KEY, num_steps=3, num_data=40)
    assert len(result.posterior) == 2 and result.history["loss"].shape == (3,)
