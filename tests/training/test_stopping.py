"""What ends a fit before its last step: no better validation, NaN, no memory, a signal."""

import contextlib
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.interrupts import Interrupts
from jfractal.training.driver import Driver
from tests.training.problems import KEY, MAP, MODEL, PARAMS, X, Y, same, same_fit

BATCHES = {"num_steps": 40, "batch_size": 8, "validate_every": 2}


def figures(*values, name="nll"):
    left = iter(values)
    return lambda posterior: {name: next(left)}


def test_early_stopping_gives_the_best():
    validation = figures(3.0, 1.0, float("nan"), 2.0, 0.0)
    fit = jf.fit(MAP, PARAMS, (X, Y), KEY, validation=validation, patience=2, **BATCHES)
    assert fit.stopped_early and len(fit.history["step"]) == 8
    best = jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=4, batch_size=8)
    assert same(fit.best_state, best.state)
    assert same(fit.posterior.mean(), best.posterior.mean())
    assert same(fit.best.mean(), best.posterior.mean())


def test_without_patience_the_last_is_the_posterior():
    options = {**BATCHES, "num_steps": 8}
    fit = jf.fit(MAP, PARAMS, (X, Y), KEY, validation=figures(2.0, 1.0, 3.0, 4.0), **options)
    last = jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=8, batch_size=8)
    assert not fit.stopped_early and same(fit.posterior.mean(), last.posterior.mean())
    best = jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=4, batch_size=8)
    assert same(fit.best.mean(), best.posterior.mean())


def test_a_figure_that_should_be_large():
    options = {**BATCHES, "num_steps": 6, "monitor": "-accuracy"}
    validation = figures(0.5, 0.9, 0.7, name="accuracy")
    fit = jf.fit(MAP, PARAMS, (X, Y), KEY, validation=validation, **options)
    best = jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=4, batch_size=8)
    assert same(fit.best_state, best.state)


def test_the_figure_to_go_by():
    call = lambda **o: jf.fit(MAP, PARAMS, (X, Y), KEY, **BATCHES, **o)
    with pytest.raises(jf.InputError, match=r"`monitor` .* such as '-accuracy', got 'accuracy'"):
        call(validation=(X, Y), monitor="accuracy")
    with pytest.raises(jf.InputError, match=r"`monitor` must be one of the metrics .* got 'loss'"):
        call(validation=(X, Y), monitor="loss")
    with pytest.raises(jf.InputError, match=r"`monitor` must be one of the metrics .*, rmse,"):
        call(validation=figures(1.0, name="rmse"), patience=1)
    fit = call(validation=lambda posterior: {"rmse": 1.0})
    with pytest.raises(jf.InputError, match="`best` is known only after a fit with `validation=`"):
        fit.best  # noqa: B018


def test_a_validation_is_of_all_examples_and_draws():
    fit = jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=2, validation=(X, Y), validate_every=2)
    outputs = MODEL.apply(fit.posterior.sample(KEY), jnp.asarray(X))
    log_probs = jax.nn.log_softmax(outputs)[np.arange(40), Y]
    np.testing.assert_allclose(fit.history["validation/nll"], [-log_probs.mean()], rtol=1e-5)
    accuracy = (outputs.argmax(-1) == Y).mean()
    np.testing.assert_allclose(fit.history["validation/accuracy"], [accuracy], rtol=1e-6)


def broken_at(step, members=None):
    """MAP whose nll is NaN at a step, in all members or in some."""

    def update(state, batch, key, num_data=None):
        state, info = MAP.update(state, batch, key, num_data)
        bad = state.step == step
        weight = state.params["Dense_0"]["bias"][0]
        if members is not None:
            bad &= weight > 0
        return state, {**info, "nll": jnp.where(bad, jnp.nan, info["nll"])}

    return MAP._replace(update=update)


def test_nan_is_named():
    with pytest.raises(jf.DivergenceError, match="`nll` is nan at step 5 of MAP") as error:
        jf.fit(broken_at(5), PARAMS, (X, Y), KEY, num_steps=20, augment=lambda key, x: x)
    for part in ("finite numbers, before `augment`", "learning rate", "clip_by_global_norm"):
        assert part in str(error.value)


def test_the_members_that_are_nan_are_named():
    sign = lambda key: jnp.where(jax.random.bernoulli(key), 5.0, -5.0)
    starts = lambda key: jax.tree.map(lambda w: w * 0 + sign(key), PARAMS)
    keys = jax.random.split(jax.random.split(KEY, 4)[0], 4)
    bad = ", ".join(str(i) for i in range(4) if sign(keys[i]) > 0)
    method = jf.ensemble(broken_at(2, members="positive"), 4)
    with pytest.raises(jf.DivergenceError, match=rf"`nll` of members {bad} is nan at step 2 of"):
        jf.fit(method, starts, (X, Y), KEY, num_steps=4)


def test_weights_that_are_not_finite_at_the_end(tmp_path):
    """The last step leads to NaN, which no figure shows any more."""
    method = jf.maximum_a_posteriori(MODEL, optax.sgd(jnp.inf))
    with pytest.raises(jf.DivergenceError, match="the weights are not finite after step 1 of MAP"):
        jf.fit(method, PARAMS, (X, Y), KEY, num_steps=1, directory=tmp_path)
    assert not list(tmp_path.glob("step-*"))


def test_checkpoints_before_nan_are_kept(tmp_path):
    options = {"num_steps": 20, "checkpoint_every": 2, "directory": tmp_path}
    with pytest.raises(jf.DivergenceError):
        jf.fit(broken_at(5), PARAMS, (X, Y), KEY, **options)
    again = jf.fit(MAP, PARAMS, (X, Y), KEY, **options)
    assert same(again.state, jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=20).state)


def test_out_of_memory():
    huge = lambda key, x: x + jax.random.normal(key, (40, 2**40)).sum(1, keepdims=True)
    with pytest.raises(MemoryError, match="more memory than there is: lower `batch_size`"):
        jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=1, augment=huge)


class Stopped(Exception):
    pass


@pytest.fixture
def handler():
    """A SIGTERM handler of the user's."""

    def stop(number, frame):
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    yield stop
    signal.signal(signal.SIGTERM, before)


def test_sigterm_with_a_handler(handler, tmp_path):
    """What the handler raises comes through, once the steps before are kept."""

    def terminate(row):
        if row["step"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    options = {"num_steps": 300, "batch_size": 8, "directory": tmp_path, "log_every": 1}
    with pytest.raises(Stopped):
        jf.fit(MAP, PARAMS, (X, Y), KEY, callbacks=[terminate], **options)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert [int(path.stem[5:]) >= 4 for path in tmp_path.glob("step-*.npz")] == [True]
    again = jf.fit(MAP, PARAMS, (X, Y), KEY, **options)
    assert same(again.state, jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=300, batch_size=8).state)


def test_a_second_interrupt_stops_at_once(tmp_path):
    after = []

    def twice(row):
        os.kill(os.getpid(), signal.SIGINT)
        after.append("held")
        os.kill(os.getpid(), signal.SIGINT)
        after.append("not reached")

    options = {"num_steps": 10, "batch_size": 8, "directory": tmp_path, "log_every": 1}
    with pytest.raises(KeyboardInterrupt):
        jf.fit(MAP, PARAMS, (X, Y), KEY, callbacks=[twice], **options)
    assert after == ["held"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again = jf.fit(MAP, PARAMS, (X, Y), KEY, **options)
    assert same(again.state, jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=10, batch_size=8).state)


@pytest.mark.parametrize("where", ["_dispatch", "_save"])
def test_an_interrupt_in_the_last_step_is_not_lost(tmp_path, monkeypatch, where):
    """The fit is complete, and says that it was interrupted."""
    work = getattr(Driver, where)

    def interrupted(driver):
        if driver.step == 4 or where == "_dispatch":
            os.kill(os.getpid(), signal.SIGINT)
        work(driver)

    call = lambda **options: jf.fit(
        MAP, PARAMS, (X, Y), KEY, num_steps=4, batch_size=8, checkpoint_every=4, **options
    )
    whole = call()
    with monkeypatch.context() as patch:
        patch.setattr(Driver, where, interrupted)
        patch.setattr(Driver, "_next_stop", lambda driver: 4)
        fit = call(directory=tmp_path)
    assert isinstance(fit.interrupted, KeyboardInterrupt)
    assert same_fit(fit, whole) and same_fit(call(directory=tmp_path), whole)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_after_the_last_look_comes_at_the_end():
    with pytest.raises(KeyboardInterrupt), Interrupts():
        os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(OSError, match="full"), Interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        raise OSError("full")


@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
def test_a_forked_process_holds_nothing_back(handler):
    """The workers of a data loader are ended by SIGTERM."""
    with Interrupts():
        if (process := os.fork()) == 0:
            with contextlib.suppress(Stopped):
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(1)
            os._exit(0)
        assert os.waitpid(process, 0)[1] == 0


def test_another_thread_leaves_signals_alone():
    handlers = []

    def work():
        with Interrupts() as interrupts:
            handlers.append(signal.getsignal(signal.SIGINT))
            interrupts.check()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]


def test_signals_without_a_handler_keep_their_effect():
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
