import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf


def of(kind, key, num_samples=6):
    """A prediction of each kind, of random draws."""
    a, b = jax.random.normal(key, (2, num_samples, 4, 3))
    match kind:
        case "classes":
            return jf.Prediction.of(jax.nn.log_softmax(a))
        case "labels":
            return jf.BinaryPrediction.of(a)
        case "numbers":
            return jf.RegressionPrediction.of(a, jnp.exp(b))


KINDS = ["classes", "labels", "numbers"]
SHARES = np.array([0.2, 0.5, 0.3])


def test_mixture_of_two_routes_worked_by_hand():
    sure = jf.Prediction.of(jnp.log(jnp.array([[[1.0, 0.0]]])))
    torn = jf.Prediction.of(jnp.log(jnp.array([[[0.5, 0.5]], [[0.0, 1.0]]])))  # two draws
    both = jf.mixture([sure, torn], jnp.log(jnp.array([0.75, 0.25])))
    # 3/4 · (1, 0) + 1/8 · (1/2, 1/2) + 1/8 · (0, 1)
    np.testing.assert_allclose(both.probs, [[0.8125, 0.1875]], rtol=1e-6)
    entropy = -(0.8125 * np.log(0.8125) + 0.1875 * np.log(0.1875))
    np.testing.assert_allclose(both.entropy, [entropy], rtol=1e-5)
    np.testing.assert_allclose(both.aleatoric, [np.log(2) / 8], rtol=1e-5)
    np.testing.assert_allclose(both.epistemic, [entropy - np.log(2) / 8], rtol=1e-5)
    of_mixtures = jf.mixture([both, sure], jnp.log(jnp.array([0.2, 0.8])))
    np.testing.assert_allclose(of_mixtures.probs, [[0.9625, 0.0375]], rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_of_a_mixture_are_those_of_all_its_draws(kind):
    """Mixtures of mixtures are mixtures: the mean of parts is the mean of the whole."""
    parts = [of(kind, key, n) for key, n in zip(jax.random.split(jax.random.key(0), 3), (1, 4, 6))]
    together = jf.mixture(parts, jnp.log(SHARES))
    again = together.draws.mixed(together.log_weights)
    for name in type(together).__dataclass_fields__.keys() - {"draws", "log_weights"}:
        np.testing.assert_allclose(
            getattr(together, name), getattr(again, name), rtol=1e-4, atol=1e-6
        )
    assert together.log_weights.shape == (11,)
    np.testing.assert_allclose(jnp.exp(together.log_weights).sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_one_route_of_probability_1_is_that_route(kind):
    one, other = (of(kind, jax.random.key(i)) for i in range(2))
    both = jf.mixture([one, other], jf.Routes(jnp.array([0.0, -500.0])).log_probs)
    for name in ("aleatoric", "epistemic"):
        np.testing.assert_allclose(getattr(both, name), getattr(one, name), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        jnp.stack(both.credible_interval()), jnp.stack(one.credible_interval()), atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_kept_only_if_all_parts_have_them(kind):
    one = of(kind, jax.random.key(0))
    single = jax.tree.map(lambda a: a[0], one.draws)
    both = jf.mixture([one, single], jnp.log(jnp.array([0.5, 0.5])))
    whole = jf.mixture([one, one], jnp.log(jnp.array([0.5, 0.5])))
    assert both.draws is None and whole.draws is not None
    with pytest.raises(
        jf.InputError, match="`credible_interval` needs the predictions of all draws"
    ):
        both.credible_interval()


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_pytrees(kind):
    prediction = of(kind, jax.random.key(0))
    through = jax.jit(lambda p: p)(prediction)
    np.testing.assert_array_equal(through.epistemic, prediction.epistemic)
    np.testing.assert_array_equal(
        through.samples if kind != "numbers" else through.means,
        prediction.samples if kind != "numbers" else prediction.means,
    )


def test_a_mixture_needs_a_weight_for_each():
    sure = jf.Prediction.of(jnp.zeros((1, 1, 1)))
    two = jnp.log(jnp.array([0.5, 0.5]))
    with pytest.raises(jf.InputError, match="`predictions` must be a list of one or more"):
        jf.mixture([], two)
    for ask in (
        lambda: jf.mixture([sure], two),
        lambda: jf.Prediction.of(jnp.zeros((1, 1, 1)), log_weights=two),
    ):
        with pytest.raises(jf.InputError, match=r"`log_weights` must be one number.*\(1,\), got"):
            ask()


def test_a_mixture_is_of_one_kind():
    with pytest.raises(jf.InputError, match="one kind, got BinaryPrediction and Prediction"):
        jf.mixture(
            [of("classes", jax.random.key(0)), of("labels", jax.random.key(0))],
            jnp.log(jnp.array([0.5, 0.5])),
        )


def test_a_repr_is_short():
    p = jf.Prediction.of(jax.nn.log_softmax(jnp.zeros((4, 5, 3))))
    draws = "draws=None, log_weights=None, log_probs=float32[4,5,3], aleatoric=float32[4,5]"
    expected = (
        f"Prediction(draws=Prediction({draws}), log_weights=float32[4], log_probs=float32[5,3], "
        "aleatoric=float32[5])"
    )
    assert repr(p) == expected.replace("float32", p.log_probs.dtype.name)
