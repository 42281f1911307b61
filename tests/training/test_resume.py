"""A fit that was interrupted and resumed is one that was not, bit for bit."""

import os
import signal

import flax.linen as nn
import jax
import numpy as np
import pytest

import jfractal as jf
from tests.inference.methods import METHODS
from tests.training.problems import (
    FRACTAL_MODEL,
    IMAGES,
    KEY,
    LABELS,
    LIKELIHOOD,
    MAP,
    PARAMS,
    PRIOR,
    X,
    Y,
    same,
    same_fit,
    start,
)


class Noisy(nn.Module):
    """Batch norm and dropout."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x))
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=not train)(nn.relu(x)))


NOISY = Noisy()
NOISY_MODEL = jf.Model.from_linen(NOISY, prior=PRIOR, likelihood=LIKELIHOOD)
BATCHES = {"num_steps": 17, "batch_size": 8}


def raising(at):
    """A callback that is interrupted at a step."""

    def callback(row):
        if row["step"] == at:
            raise KeyboardInterrupt

    return callback


def signalling(at):
    """A callback during which Ctrl-C is pressed."""

    def callback(row):
        if row["step"] == at:
            os.kill(os.getpid(), signal.SIGINT)

    return callback


@pytest.fixture(autouse=True)
def short_dispatches(monkeypatch):
    """Of one, two or three steps, so that there is something in between."""
    pace = lambda driver, seconds: setattr(driver, "_pace", driver.step % 3 + 1)
    monkeypatch.setattr("jfractal.training.driver.Driver._set_pace", pace)


def resumed(stops, directory, *args, **kwargs):
    """The fit, interrupted by each of these callbacks in turn."""
    for stop in stops:
        fit = jf.fit(*args, directory=directory, callbacks=[stop], log_every=1, **kwargs)
        assert isinstance(fit.interrupted, KeyboardInterrupt)
        assert len(fit.history["step"]) < kwargs["num_steps"] and "interrupted by" in repr(fit)
    fit = jf.fit(*args, directory=directory, **kwargs)
    assert fit.interrupted is None
    return fit


@pytest.mark.parametrize("name", METHODS)
def test_every_method(name, tmp_path):
    """With batch norm, and with dropout or, where it says more, drop-path."""
    if name in ("maximum_a_posteriori", "mc_drop_path", "ensemble"):
        arguments = METHODS[name](FRACTAL_MODEL), start, (IMAGES, LABELS), KEY
    else:
        variables = NOISY.init(KEY, X, train=False)
        arguments = METHODS[name](NOISY_MODEL), variables, (X, Y), KEY
    stops = [raising(2), signalling(6)]
    whole = jf.fit(*arguments, **BATCHES)
    assert same_fit(whole, resumed(stops, tmp_path, *arguments, **BATCHES))


@pytest.mark.parametrize("seed", range(3))
def test_at_random_steps(seed, tmp_path):
    rng = np.random.default_rng(seed)
    # So far apart that the rows of one have not been told when the one before stops the fit.
    steps = np.array([0, 9, 18]) + rng.integers(1, 3, 3)
    stops = [rng.choice([raising, signalling])(at) for at in steps]
    noise = lambda key, x: x + 0.1 * jax.random.normal(key, x.shape)
    options = {
        "augment": noise,
        "validation": (X, Y),
        "validate_every": 4,
        **BATCHES,
        "num_steps": 30,
    }
    whole = jf.fit(MAP, PARAMS, (X, Y), KEY, **options)
    again = resumed(stops, tmp_path, MAP, PARAMS, (X, Y), KEY, **options)
    assert same_fit(whole, again) and same(whole.best_state, again.best_state)


@pytest.mark.parametrize("kind", ["raise", "signal"])
def test_during_a_validation(kind, tmp_path):
    """The validation that was interrupted is made up for, and no row is lost or told twice."""
    rows, done = [], []

    def validation(posterior):
        if len(done) == 1:
            done.append("interrupted")
            if kind == "raise":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)
        done.append("validated")
        return {"nll": float(np.square(posterior.mean()["Dense_0"]["kernel"]).sum())}

    options = {"validate_every": 3, "log_every": 1, "callbacks": [rows.append], **BATCHES}
    arguments = MAP, PARAMS, (X, Y), KEY
    fit = jf.fit(*arguments, directory=tmp_path, validation=validation, **options)
    assert isinstance(fit.interrupted, KeyboardInterrupt)
    again = jf.fit(*arguments, directory=tmp_path, validation=validation, **options)
    told = rows.copy()
    whole = jf.fit(*arguments, validation=validation, **options)
    assert same_fit(whole, again)
    assert told == rows[len(told) :]
    np.testing.assert_array_equal(whole.history["validation/step"], [3, 6, 9, 12, 15, 17])


def test_in_the_data():
    """There is no checkpoint: what there is is returned."""
    batches = [(X[:8], Y[:8])] * 11

    def interrupted():
        yield from batches[:5]
        raise KeyboardInterrupt

    fit = jf.fit(MAP, PARAMS, interrupted(), KEY, num_steps=11, num_data=40)
    assert isinstance(fit.interrupted, KeyboardInterrupt)
    whole = jf.fit(MAP, PARAMS, batches, KEY, num_steps=5, num_data=40)
    assert same(fit.state, whole.state)
    np.testing.assert_array_equal(fit.history["step"], np.arange(1, 6))


def test_what_callbacks_have_not_heard_they_hear_at_the_end():
    """A callback that stops a fit does not keep the others from their rows."""
    rows = []

    def stop(row):
        rows.append(row["step"])
        raise KeyboardInterrupt

    fit = jf.fit(MAP, PARAMS, (X, Y), KEY, callbacks=[stop], log_every=1, **BATCHES)
    assert rows == fit.history["step"].tolist()


def test_an_error_keeps_the_steps_before(tmp_path):
    def broken(row):
        if row["step"] == 4:
            raise OSError("the disk of the log is full")

    options = {"log_every": 1, "directory": tmp_path, **BATCHES}
    with pytest.raises(OSError, match="the disk of the log"):
        jf.fit(MAP, PARAMS, (X, Y), KEY, callbacks=[broken], **options)
    rows = []
    again = jf.fit(MAP, PARAMS, (X, Y), KEY, callbacks=[rows.append], **options)
    assert rows[0]["step"] > 4
    assert same_fit(again, jf.fit(MAP, PARAMS, (X, Y), KEY, **BATCHES))


def test_a_fit_goes_on_to_more_epochs(tmp_path):
    first = jf.fit(MAP, PARAMS, (X, Y), KEY, num_epochs=1, batch_size=8, directory=tmp_path)
    assert len(first.history["step"]) == 5
    again = jf.fit(MAP, PARAMS, (X, Y), KEY, num_epochs=2, batch_size=8, directory=tmp_path)
    assert same_fit(again, jf.fit(MAP, PARAMS, (X, Y), KEY, num_epochs=2, batch_size=8))


def test_a_fit_that_stopped_early_stays_stopped(tmp_path):
    figures = iter([2.0, 1.0, 3.0, 4.0])
    options = {"validate_every": 2, "patience": 2, "num_steps": 40, "batch_size": 8}
    fit = lambda: jf.fit(
        MAP,
        PARAMS,
        (X, Y),
        KEY,
        directory=tmp_path,
        validation=lambda posterior: {"nll": next(figures)},
        **options,
    )
    first = fit()
    again = fit()
    assert first.stopped_early and again.stopped_early and same_fit(first, again)
    assert same(first.best_state, again.best_state)
