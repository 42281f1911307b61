"""Where memory runs out, the message names what to lower, and what there was is kept."""

import sys

import jax
import pytest

import jfractal as jf
from tests.training.problems import KEY, LIKELIHOOD, MAP, MODEL, PARAMS, PRIOR, X, Y, same_fit


def huge(variables, x):
    """A net that takes more memory than there is."""
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")


HUGE = jf.Model(huge, prior=PRIOR, likelihood=LIKELIHOOD)


def test_a_prediction():
    with pytest.raises(MemoryError, match=r"lower `batch_size` or `samples_per_pass`.*keep_sampl"):
        jf.predict(HUGE, jf.Point({"params": PARAMS}), X, KEY, batch_size=4, samples_per_pass=1)


def test_chains():
    starts = jax.tree.map(lambda w: w[None], PARAMS)
    options = {"num_chains": 1, "num_warmup": 1, "num_draws": 4, "batch_size": 1}
    with pytest.raises(MemoryError, match=r"lower `batch_size` or `num_chains`, .* by `where`"):
        jf.nuts(HUGE, (X, Y), KEY, starts=starts, **options)


def test_a_curvature():
    with pytest.raises(MemoryError, match="lower `batch_size`, choose fewer weights by `where`"):
        jf.laplace(HUGE, PARAMS, (X, Y), structure="diagonal", batch_size=1)


def test_arrays_of_the_host(monkeypatch):
    def full(*args, **kwargs):
        raise MemoryError("Unable to allocate 80. TiB")

    monkeypatch.setattr(sys.modules["jfractal.predict.passes"], "plan", full)
    with pytest.raises(MemoryError, match=r"a pass needs more memory .* \(Unable to allocate"):
        jf.predict(MODEL, jf.Point({"params": PARAMS}), X, KEY)


def test_a_fit_that_ran_out_of_memory_goes_on_bit_for_bit(tmp_path):
    """The step at hand is lost, and with it what came after the last checkpoint; no more."""
    options = {"num_steps": 9, "batch_size": 8, "directory": tmp_path, "checkpoint_every": 2}

    def full(row):
        if row["step"] == 5:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")

    with pytest.raises(MemoryError, match="a step needs more memory than there is: lower `batch_"):
        jf.fit(MAP, PARAMS, (X, Y), KEY, callbacks=[full], log_every=1, **options)
    again = jf.fit(MAP, PARAMS, (X, Y), KEY, **options)
    assert same_fit(again, jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=9, batch_size=8))


def test_other_errors_of_xla_come_through():
    def broken(row):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=2, callbacks=[broken], log_every=1)
