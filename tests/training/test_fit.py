"""`fit` is the loop that one would write by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf
from jfractal.training import scan
from jfractal.training.loop import Keys
from tests.training.problems import KEY, MAP, MODEL, PARAMS, X, Y, same, same_fit

SIZE = 8


def by_hand(method, num_steps, *, augment=None):
    """The same steps, one call each: an order for every epoch, a key for every step."""
    keys, per_epoch = Keys.of(KEY), len(X) // SIZE
    order = lambda epoch: jax.random.permutation(jax.random.fold_in(keys.order, epoch), len(X))
    orders = [jax.jit(order)(epoch) for epoch in range(-(-num_steps // per_epoch))]

    @jax.jit
    def update(state, x, y, step):
        key_augment, key_update = jax.random.split(jax.random.fold_in(keys.steps, step))
        x = x if augment is None else augment(key_augment, x)
        return method.update(state, (x, y), key_update, len(X))

    state, infos = method.init(PARAMS, keys.init), []
    for step in range(num_steps):
        epoch, place = divmod(step, per_epoch)
        chosen = np.asarray(orders[epoch])[place * SIZE : (place + 1) * SIZE]
        state, info = update(state, X[chosen], Y[chosen], step)
        infos.append(info)
    return state, {name: np.array([info[name] for info in infos]) for name in infos[0]}


def assert_close(one, other):
    """Equal but for how XLA rounds in two programs."""
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    jax.tree.map(close, one, other)


METHODS = {
    "MAP": MAP,
    "mean field": jf.variational(MODEL, optax.adam(1e-2), num_samples=2),
    "IVON": jf.ivon(MODEL, learning_rate=optax.cosine_decay_schedule(0.1, 12)),
    "SGLD": jf.sgld(MODEL, learning_rate=1e-3, num_draws=2, thinning=3),
}


@pytest.mark.parametrize("name", METHODS)
def test_it_is_the_loop_by_hand(name):
    method = METHODS[name]
    state, infos = by_hand(method, 12)
    fit = jf.fit(method, PARAMS, (X, Y), KEY, num_steps=12, batch_size=SIZE)
    assert_close(fit.state, state)
    assert fit.history.keys() == {"step", "epoch", *infos}
    assert_close({part: fit.history[part] for part in infos}, infos)
    np.testing.assert_array_equal(fit.history["step"], np.arange(1, 13))
    np.testing.assert_allclose(fit.history["epoch"], np.arange(1, 13) / 5)
    assert_close(fit.posterior.sample(KEY), method.posterior(state).sample(KEY))


def test_the_parts_of_the_loss_add_up():
    fit = jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=3, batch_size=SIZE)
    parts = fit.history["nll"] - fit.history["log_prior"]
    np.testing.assert_allclose(fit.history["loss"], parts, rtol=1e-6)
    q = jf.fit(METHODS["mean field"], PARAMS, (X, Y), KEY, num_steps=3, batch_size=SIZE)
    np.testing.assert_allclose(
        q.history["loss"], q.history["nll"] + q.history["kl"] / len(X), rtol=1e-6
    )


@pytest.mark.parametrize("pace", [1, 2, 7])
def test_how_many_steps_a_dispatch_takes_does_not_matter(monkeypatch, pace):
    run = lambda: jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=40, batch_size=SIZE)
    several = run()
    monkeypatch.setattr(
        "jfractal.training.driver.Driver._set_pace",
        lambda driver, seconds: setattr(driver, "_pace", pace),
    )
    assert same_fit(several, run())


def test_orders_are_made_in_windows(monkeypatch):
    run = lambda: jf.fit(MAP, PARAMS, (X, Y), KEY, num_epochs=5, batch_size=SIZE)
    together = run()
    monkeypatch.setattr("jfractal.training.sources.MAX_INDICES", 2 * len(X))
    assert same_fit(together, run())


def test_scan_takes_the_same_steps():
    fit = jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=12, batch_size=SIZE)
    posterior, history = scan(MAP, PARAMS, (X, Y), KEY, num_steps=12, batch_size=SIZE)
    assert_close(posterior.mean(), fit.posterior.mean())
    assert_close(history, {part: fit.history[part] for part in history})


def test_augmentation_has_a_key_for_every_step():
    seen = []

    def augment(key, x):
        noise = jax.random.normal(key, x.shape)
        jax.debug.callback(lambda noise: seen.append(float(noise[0, 0])), noise)
        return x + 0.1 * noise

    fit = jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=12, batch_size=SIZE, augment=augment)
    jax.effects_barrier()
    assert len(set(seen)) == 12
    state, infos = by_hand(MAP, 12, augment=augment)
    assert_close((fit.state, fit.history["loss"]), (state, infos["loss"]))


def test_members_have_augmentations_and_batches_of_their_own():
    method = jf.ensemble(MAP, 2)
    kwargs = {"num_steps": 4, "batch_size": SIZE}
    noise = lambda key, x: x + 0.1 * jax.random.normal(key, x.shape)
    plain = jf.fit(method, PARAMS, (X, Y), KEY, **kwargs)
    kernel = plain.posterior.members.variables["params"]["Dense_0"]["kernel"]
    assert (kernel[0] != kernel[1]).all()  # from the same start, by their batches
    noisy = jf.fit(method, PARAMS, (X, Y), KEY, augment=noise, **kwargs)
    assert not same(noisy.state, plain.state)
    full = jf.fit(method, PARAMS, (X, Y), KEY, num_steps=4)
    kernel = full.posterior.members.variables["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(kernel[0], kernel[1], rtol=1e-5)  # by nothing


def test_equal_fits_compile_once():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: (
            compiled.append(event)
            if event == "/jax/core/compile/backend_compile_duration"
            else None
        )
    )

    def run():
        model = jf.Model(MODEL.apply, prior=jf.priors.Gaussian(1.0), likelihood=MODEL.likelihood)
        method = jf.maximum_a_posteriori(model, optax.adam(1e-2))
        options = {"validation": (X, Y), "augment": lambda key, x: 2 * x}
        jf.fit(method, PARAMS, (X, Y), KEY, num_epochs=2, batch_size=SIZE, **options)
        number = len(compiled)
        compiled.clear()
        return number

    first = run()
    assert first > 0 and run() == 0


def test_what_is_given_stays_as_it_is():
    params = jax.tree.map(jnp.array, PARAMS)
    jf.fit(MAP, params, (X, Y), KEY, num_steps=2, batch_size=SIZE)
    assert same(params, PARAMS)


def test_trees_of_inputs_and_arrays_of_other_libraries():
    class Foreign:
        """As those of torch: NumPy can read it."""

        def __init__(self, values):
            self.values = values

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.values, dtype)

    apply = lambda variables, x: MODEL.apply(variables, x["left"] + x["right"])
    model = jf.Model(apply, prior=MODEL.prior, likelihood=MODEL.likelihood)
    method = jf.maximum_a_posteriori(model, optax.adam(1e-2))
    data = {"left": Foreign(X / 2), "right": X / 2}, Foreign(Y)
    kwargs = {"num_steps": 5, "batch_size": SIZE}
    one = jf.fit(method, PARAMS, data, KEY, **kwargs)
    other = jf.fit(MAP, PARAMS, (X, Y), KEY, **kwargs)
    np.testing.assert_allclose(one.history["loss"], other.history["loss"], rtol=1e-5)


def test_a_short_repr():
    fit = jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=2)
    assert repr(fit).startswith("Fit of MAP: 2 steps; ") and "nll" in repr(fit)
    assert repr(fit.history).startswith("History of ")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "give one of `num_epochs` and `num_steps`, got None and None"),
        ({"num_epochs": 1, "num_steps": 1}, "give one of `num_epochs` and `num_steps`"),
        ({"num_epochs": 0}, "`num_epochs` must be at least 1, got 0"),
        ({"num_steps": 1.5}, "`num_steps` must be an integer, got 1.5"),
        ({"num_steps": 1, "batch_size": 41}, "`batch_size` must be between 1 and .* 40, got 41"),
        ({"num_steps": 1, "batch_size": 0}, "`batch_size` must be at least 1"),
        ({"num_steps": 1, "num_data": 50}, "`num_data` is for iterables only; `data` has 40"),
        ({"num_steps": 1, "log_every": 0}, "`log_every` must be at least 1"),
        ({"num_steps": 1, "patience": 1}, "`patience` needs `validation`"),
        ({"num_steps": 1, "monitor": "nll"}, "`monitor` needs `validation`"),
        ({"num_steps": 1, "callbacks": [3]}, "`callbacks` must be functions of a row, got "),
        ({"num_steps": 1, "augment": 3}, "`augment` must be a function, got "),
    ],
)
def test_bad_input(options, match):
    with pytest.raises(jf.InputError, match=match):
        jf.fit(MAP, PARAMS, (X, Y), KEY, **options)


WRONG = {
    "label -1": ((X, np.where(Y == 0, -1, Y)), r"labels in \[0, 3\), .* from -1 to 2"),
    "label 3": ((X, Y + 1), r"labels in \[0, 3\), .* from 1 to 3"),
    "NaN": ((np.where(X > 1, np.nan, X), Y), "the inputs must be finite numbers, got a NaN"),
    "other lengths": ((X[1:], Y), "the same number of examples"),
    "no examples": ((X[:0], Y[:0]), "the same number of examples, at least 1"),
    "words": ((np.array(["a"] * 40), Y), "`data` must be arrays of numbers, got <U1"),
    "nothing": ((None, Y), "`data` must have inputs, got None"),
    "other features": ((X[:, :3], Y), "`data`|`x`|inputs|`params`"),
    "a number": (3, r"`data` must be inputs and targets \(x, y\), an iterable .*, got a int"),
}


@pytest.mark.parametrize("name", WRONG)
def test_data_are_looked_at_before_the_fit(name):
    data, match = WRONG[name]
    with pytest.raises(jf.InputError, match=match):
        jf.fit(MAP, PARAMS, data, KEY, num_steps=1)
    if isinstance(data, tuple):
        with pytest.raises(jf.InputError, match=match):
            jf.fit(MAP, PARAMS, (X, Y), KEY, num_steps=1, validation=data)
