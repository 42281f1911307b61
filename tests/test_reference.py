from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf

X = jax.random.normal(jax.random.key(0), (12, 3))
Y = jnp.argmax(X, axis=1)
X_TEST = X[:5] + 0.1
NET = nn.Dense(3)
PRIOR, LIKELIHOOD = jf.priors.Gaussian(1.0), jf.likelihoods.Categorical()


def target(net=NET, data=(X, Y), prior=PRIOR):
    """A model and its data."""
    return jf.Model(net.apply, prior=prior, likelihood=LIKELIHOOD), data


@pytest.fixture(scope="module")
def chains():
    starts = lambda key: NET.init(key, X)["params"]
    return jf.nuts(*target(), jax.random.key(1), starts=starts, num_warmup=50, num_draws=20)


@pytest.mark.parametrize("with_weights", [True, False])
def test_a_reference_comes_back(chains, tmp_path, with_weights):
    path = tmp_path / "new" / "reference.npz"
    saved = jf.reference.save(path, chains, *target(), X_TEST, with_weights=with_weights)
    loaded = jf.reference.load(path, *target(), X_TEST)
    np.testing.assert_array_equal(loaded.outputs, saved.outputs)
    np.testing.assert_allclose(
        loaded.outputs, chains.outputs(NET.apply, X_TEST), rtol=1e-5, atol=1e-5
    )
    assert loaded.diagnosis == saved.diagnosis
    assert loaded.about["net"].startswith("Dense(")
    if with_weights:
        assert loaded.chains is not None
        jax.tree.map(np.testing.assert_array_equal, loaded.chains, chains)
        assert loaded.chains.diagnose(loaded.outputs) == loaded.diagnosis
    else:
        assert loaded.chains is None


def test_predictions_are_mixtures_of_draws(chains, tmp_path):
    reference = jf.reference.save(tmp_path / "a.npz", chains, *target(), X_TEST)
    probs = jax.nn.softmax(chains.outputs(NET.apply, X_TEST))
    np.testing.assert_allclose(reference.prediction.probs, probs.mean((0, 1)), rtol=1e-4)
    by_chain = [prediction.probs for prediction in reference.prediction_by_chain]
    np.testing.assert_allclose(by_chain, probs.mean(1), rtol=1e-4)


def test_another_way_to_write_the_same_model_is_the_same(chains, tmp_path):
    jf.reference.save(tmp_path / "a.npz", chains, *target(), X_TEST)
    net = nn.Dense(3, precision="highest")
    written = replace(target()[0], apply=lambda v, x: net.apply(v, x))
    assert jf.reference.load(tmp_path / "a.npz", written, (X, Y), X_TEST).diagnosis is not None


@pytest.mark.parametrize(
    ("other", "x", "reason"),
    [
        (target(data=(X, (Y + 1) % 3)), X_TEST, "other data"),
        (target(), X_TEST[:4], "other inputs"),
        (target(prior=jf.priors.Gaussian(2.0)), X_TEST, r"another prior: Gaussian\(scale=1.0"),
        (target(net=nn.Dense(4)), X_TEST, "another net"),
        (target(net=nn.Sequential([NET, jnp.tanh])), X_TEST, "another net"),
        (target(net=nn.Dense(3, use_bias=False)), X_TEST, "another net"),
        (
            target(net=nn.Dense(3, dot_general=lambda *a, **k: -jax.lax.dot_general(*a, **k))),
            X_TEST,
            "another net",
        ),
    ],
)
def test_a_reference_for_something_else_is_refused(chains, tmp_path, other, x, reason):
    jf.reference.save(tmp_path / "a.npz", chains, *target(), X_TEST)
    with pytest.raises(jf.InputError, match=reason):
        jf.reference.load(tmp_path / "a.npz", *other, x)


def test_the_outputs_may_be_those_of_a_part(chains, tmp_path):
    doubled = lambda variables, x: 2 * NET.apply(variables, x)
    jf.reference.save(tmp_path / "a.npz", chains, *target(), X_TEST, apply=doubled)
    loaded = jf.reference.load(tmp_path / "a.npz", *target(), X_TEST, apply=doubled)
    np.testing.assert_allclose(loaded.outputs, 2 * chains.outputs(NET.apply, X_TEST), rtol=1e-5)
    with pytest.raises(jf.InputError, match="outputs of another `apply`"):
        jf.reference.load(tmp_path / "a.npz", *target(), X_TEST)


def test_files_that_are_no_reference_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("draws")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    for name in ("missing", "text", "other"):
        with pytest.raises(jf.InputError, match=name):
            jf.reference.load(tmp_path / f"{name}.npz", *target(), X_TEST)


# Somebody else's predictions

PROBS = np.array([[0.1, 0.9, 0.0], [0.25, 0.25, 0.5]], np.float32)


def test_tables_of_probabilities(tmp_path):
    np.savetxt(tmp_path / "plain.csv", PROBS, delimiter=",")
    np.savetxt(tmp_path / "head.csv", PROBS, delimiter=",", header="cat,dog,bird", comments="")
    np.savez(tmp_path / "array.npz", probs=PROBS)
    np.save(tmp_path / "array.npy", PROBS)
    np.savez(tmp_path / "several.npz", order=np.arange(2), probs=PROBS)
    for name in ("plain.csv", "head.csv", "array.npz", "array.npy", "several.npz"):
        np.testing.assert_allclose(jf.reference.load_probs(tmp_path / name), PROBS, rtol=1e-6)


@pytest.mark.parametrize("table", [PROBS * 2, PROBS - 0.2, PROBS[0], PROBS.astype(str)])
def test_tables_of_something_else_are_refused(tmp_path, table):
    np.save(tmp_path / "array.npy", table)
    with pytest.raises(jf.InputError, match=r"array\.npy"):
        jf.reference.load_probs(tmp_path / "array.npy")


def test_several_arrays_without_a_name_to_go_by_are_refused(tmp_path):
    np.savez(tmp_path / "several.npz", order=np.arange(2), first=PROBS)
    with pytest.raises(jf.InputError, match=r"must hold one array, or one named 'probs'"):
        jf.reference.load_probs(tmp_path / "several.npz")


def test_a_table_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "text.csv").write_text("0.5,0.5\n0.5,cat\n")
    (tmp_path / "head.csv").write_text("cat,dog\n")
    for name in ("text.csv", "missing.csv", "head.csv"):
        with pytest.raises(jf.InputError, match=f"`path`.*{name}"):
            jf.reference.load_probs(tmp_path / name)


def test_an_array_that_is_gone_is_missed(chains, tmp_path):
    path = tmp_path / "reference.npz"
    jf.reference.save(path, chains, *target(), X_TEST)
    arrays = dict(np.load(path))
    for name in arrays:
        np.savez(path, **{other: x for other, x in arrays.items() if other != name})
        with pytest.raises(jf.InputError, match=r"^`path`: .* is not a reference"):
            jf.reference.load(path, *target(), X_TEST)
