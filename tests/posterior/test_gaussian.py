import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from jaxtyping import TypeCheckError

from jfractal import priors
from jfractal.errors import InputError
from jfractal.posterior import Gaussian, mean, mean_field, sample, variance
from jfractal.posterior.gaussian import gaussians, map_gaussians
from jfractal.posterior.softplus import inverse_softplus
from jfractal.priors import kl


def gaussian(seed, shape):
    key_mean, key_rho = jax.random.split(jax.random.key(seed))
    return Gaussian(jax.random.normal(key_mean, shape), 3 * jax.random.normal(key_rho, shape) - 2)


@pytest.fixture
def params():
    return {
        "body": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)},
        "head": {"kernel": jnp.full((3, 1), -2.0), "bias": jnp.zeros(1)},
    }


class PureFunctions(chex.TestCase):
    """With and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_inverse_softplus_undoes_softplus(self):
        x = jnp.logspace(-6, 2, 200)
        back = self.variant(lambda x: jax.nn.softplus(inverse_softplus(x)))(x)
        np.testing.assert_allclose(back, x, rtol=3e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_log_prob_meets_scipy(self):
        q, w = gaussian(0, (4, 5)), jax.random.normal(jax.random.key(9), (4, 5))
        expected = scipy.stats.norm.logpdf(w, q.mean, q.std)
        actual = self.variant(lambda q, w: q.log_prob(w))(q, w)
        np.testing.assert_allclose(actual, expected, rtol=1e-4)

    @chex.variants(with_jit=True, without_jit=True)
    def test_kl_meets_numpyro(self):
        for seed, (scale, centre) in enumerate([(1.0, 0.0), (0.1, 0.5), (30.0, -4.0)]):
            q = gaussian(seed, (20, 5))
            expected = dist.kl_divergence(dist.Normal(q.mean, q.std), dist.Normal(centre, scale))
            actual = self.variant(kl, static_argnums=1)(q, priors.Gaussian(scale, centre))
            np.testing.assert_allclose(actual, np.asarray(expected, np.float64).sum(), rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_vmap_of_the_kl_counts_every_member_once(self):
        q = {"a": gaussian(0, (4, 3)), "b": gaussian(1, (4,)), "point": jnp.ones((4, 7))}
        prior = priors.Gaussian(0.5)
        each = self.variant(jax.vmap(lambda q: kl(q, prior)))(q)
        expected = [kl(jax.tree.map(lambda leaf, i=i: leaf[i], q), prior) for i in range(4)]
        np.testing.assert_allclose(each, expected, rtol=1e-6)
        np.testing.assert_allclose(each.sum(), kl(q, prior), rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_sample_has_the_moments_of_the_leaf(self):
        q, n = (
            {"w": Gaussian(jnp.array([2.0, -1.0]), inverse_softplus(jnp.array([0.5, 3.0])))},
            20000,
        )
        keys = jax.random.split(jax.random.key(0), n)
        draws = np.asarray(self.variant(jax.vmap(sample, (None, 0)))(q, keys)["w"], np.float64)
        std = np.asarray(q["w"].std, np.float64)
        assert np.all(abs(draws.mean(0) - q["w"].mean) < 4 * std / n**0.5)
        assert np.all(abs(draws.var(0) / std**2 - 1) < 4 * (2 / n) ** 0.5)
        assert abs(np.corrcoef(draws.T)[0, 1]) < 4 / n**0.5


# The leaf


def test_the_derivative_by_a_leaf_is_a_leaf():
    q = {"w": gaussian(0, (3,)), "b": jnp.ones(2)}
    gradient = jax.grad(lambda q: kl(q, priors.Gaussian(0.5, 1.0)))(q)
    assert jax.tree.structure(gradient) == jax.tree.structure(q)
    # d/dm = (m − m0) / s0², d/ds = s / s0² − 1 / s, ds/drho = sigmoid(rho)
    w = q["w"]
    np.testing.assert_allclose(gradient["w"].mean, (w.mean - 1) / 0.25, rtol=1e-5)
    by_std = w.std / 0.25 - 1 / w.std
    np.testing.assert_allclose(gradient["w"].rho, by_std * jax.nn.sigmoid(w.rho), rtol=1e-4)
    np.testing.assert_array_equal(gradient["b"], 0)


def test_the_estimator_is_static():
    leaf = Gaussian(jnp.zeros(2), jnp.zeros(2), "flipout")
    assert len(jax.tree.leaves(leaf)) == 2
    assert jax.jit(lambda leaf: leaf)(leaf).estimator == "flipout"
    other = Gaussian(leaf.mean, leaf.rho, "reparam")
    assert jax.tree.structure(leaf) != jax.tree.structure(other)


def test_both_parameterisations_are_one_distribution():
    mean, std = jnp.array([1.0, -2.0]), jnp.array([0.3, 4.0])
    softplus = Gaussian(mean, inverse_softplus(std))
    log_variance = Gaussian(mean, 2 * jnp.log(std), parameterisation="log_variance")
    for leaf in (softplus, log_variance):
        np.testing.assert_allclose(leaf.std, std, rtol=1e-6)
    key, prior = jax.random.key(0), priors.Gaussian(0.5)
    np.testing.assert_allclose(softplus.sample(key), log_variance.sample(key), rtol=1e-5)
    np.testing.assert_allclose(kl(softplus, prior), kl(log_variance, prior), rtol=1e-6)
    # ds/drho = sigmoid(rho), and s / 2.
    derivative = jax.grad(lambda leaf: leaf.std.sum())
    np.testing.assert_allclose(derivative(softplus).rho, jax.nn.sigmoid(softplus.rho), rtol=1e-6)
    np.testing.assert_allclose(derivative(log_variance).rho, std / 2, rtol=1e-6)
    assert jax.tree.structure(softplus) != jax.tree.structure(log_variance)


@pytest.mark.parametrize("use", [jnp.sum, lambda leaf: jnp.ones(3) + leaf, jnp.asarray])
def test_a_leaf_is_not_an_array(use):
    with pytest.raises(
        InputError, match=r"estimator 'flipout'.*call `sample\(params, key\)` first"
    ):
        use(Gaussian(jnp.zeros(3), jnp.zeros(3), "flipout"))


def test_a_deterministic_layer_refuses_a_leaf(getkey):
    x = jnp.ones((2, 3))
    net = nn.Dense(4)
    q = mean_field(net.init(getkey(), x))
    with pytest.raises(InputError, match="reached an operation that needs an array"):
        net.apply(q, x)
    assert net.apply(sample(q, getkey()), x).shape == (2, 4)


# Lifting a tree


def test_mean_field_is_centred_on_the_tree(params):
    q = mean_field(params, scale=0.3, estimator="flipout")
    chex.assert_trees_all_equal(mean(q), params)
    assert len(gaussians(q)) == 4
    for leaf in gaussians(q):
        assert leaf.estimator == "flipout"
        np.testing.assert_allclose(leaf.std, 0.3, rtol=1e-6)
        assert leaf.std.shape == leaf.mean.shape and leaf.rho.dtype == leaf.mean.dtype


def test_where_picks_leaves_by_path_and_value(params):
    paths = []
    mean_field(params, where=lambda path, leaf: paths.append(path) or True)
    assert paths == ["body/bias", "body/kernel", "head/bias", "head/kernel"]
    head = mean_field(params, where=lambda path, leaf: path.startswith("head/"))
    assert [leaf.mean.shape for leaf in gaussians(head)] == [(1,), (3, 1)]
    chex.assert_trees_all_equal(head["body"], params["body"])
    kernels = mean_field(params, where=lambda path, leaf: leaf.ndim == 2)
    assert isinstance(kernels["body"]["kernel"], Gaussian)
    assert not isinstance(kernels["body"]["bias"], Gaussian)
    assert gaussians(mean_field(params, where=lambda path, leaf: False)) == []


def test_variances_are_squares_and_0_without_a_posterior():
    leaf = gaussian(0, (3,))
    both = variance({"a": leaf, "b": jnp.ones(2)})
    np.testing.assert_allclose(both["a"], leaf.std**2)
    np.testing.assert_array_equal(both["b"], np.zeros(2))


def test_the_log_variance_is_a_choice(params):
    q = mean_field(params, scale=np.exp(-1.5), parameterisation="log_variance")
    for leaf in gaussians(q):
        np.testing.assert_allclose(leaf.rho, -3, rtol=1e-6)
    back = mean_field(q, scale=0.3)
    assert all(leaf.parameterisation == "softplus" for leaf in gaussians(back))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (lambda path, leaf: path.startswith("head/"), {"head/kernel", "head/bias"}),
        (
            lambda path, leaf: "column2_" in path,
            {"block1/column2_unit1/kernel", "block1/column2_unit1/bias"},
        ),
        (
            lambda path, leaf: path.endswith("kernel"),
            {"block1/column1_unit1/kernel", "block1/column2_unit1/kernel", "head/kernel"},
        ),
    ],
    ids=["last layer", "one column", "kernels only"],
)
def test_partially_bayesian(where, expected):
    layer = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    params = {"block1": {"column1_unit1": layer, "column2_unit1": layer}, "head": layer}
    q = mean_field(params, where=where)
    found = []
    map_gaussians(lambda leaf: leaf, q, lambda path, leaf: found.append(path) or True)
    assert set(found) == expected and len(gaussians(q)) == len(expected)
    # A second call with the rest makes the whole net Bayesian, in two ways.
    both = mean_field(q, scale=0.5, where=lambda path, leaf: not where(path, leaf))
    assert len(gaussians(both)) == 6 and len(gaussians(both, where)) == len(expected)
    for leaf in gaussians(both, where):
        np.testing.assert_allclose(leaf.std, 0.01, rtol=1e-6)


def test_a_leaf_is_lifted_again_from_its_mean(params):
    q = mean_field(mean_field(params, scale=0.3, estimator="flipout"), scale=0.1)
    chex.assert_trees_all_equal(mean(q), params)
    assert all(leaf.estimator == "reparam" for leaf in gaussians(q))
    np.testing.assert_allclose(gaussians(q)[0].std, 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "`scale` must be above 0 and finite, got 0.0"),
        ({"scale": -1.0}, "`scale` must be above 0 and finite, got -1.0"),
        ({"scale": float("nan")}, "`scale` must be above 0 and finite, got nan"),
    ],
)
def test_mean_field_refuses_a_scale(params, options, message):
    with pytest.raises(InputError, match=message):
        mean_field(params, **options)


@pytest.mark.parametrize("name", ["estimator", "parameterisation"])
def test_mean_field_knows_its_options(params, name):
    with pytest.raises((InputError, TypeCheckError), match=f"[`']{name}[`']"):
        mean_field(params, **{name: "magic"})


# Sampling


def test_a_draw_is_a_tree_of_arrays(params):
    q = mean_field(params, scale=0.1, where=lambda path, leaf: "kernel" in path)
    draw = sample(q, jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(draw, params)
    chex.assert_trees_all_equal(draw, jax.jit(sample)(q, jax.random.key(0)))
    chex.assert_trees_all_equal(draw["body"]["bias"], params["body"]["bias"])
    assert (draw["body"]["kernel"] != sample(q, jax.random.key(1))["body"]["kernel"]).all()
    # A tree without Gaussian leaves is its own only draw.
    chex.assert_trees_all_equal(sample(params, jax.random.key(0)), params)


def test_equal_leaves_are_drawn_apart():
    q = mean_field({"a": jnp.zeros(5), "b": jnp.zeros(5)}, scale=1.0)
    draw = sample(q, jax.random.key(0))
    assert (draw["a"] != draw["b"]).all()


def test_where_leaves_the_others_as_they_are(params):
    q = mean_field(params)
    draw = sample(q, jax.random.key(0), where=lambda leaf: leaf.mean.ndim == 2)
    assert [leaf.mean.ndim for leaf in gaussians(draw)] == [1, 1]
    assert not isinstance(draw["head"]["kernel"], Gaussian)


def test_precision_follows_the_mean():
    q = mean_field({"w": jnp.ones(3, jnp.bfloat16)})
    assert q["w"].rho.dtype == jnp.bfloat16
    assert sample(q, jax.random.key(0))["w"].dtype == jnp.bfloat16


def test_map_gaussians_leaves_arrays_alone(params):
    q = mean_field(params, where=lambda path, leaf: path == "head/bias")
    chex.assert_trees_all_equal(
        map_gaussians(lambda leaf: leaf.std * 0 + 7, q),
        {**params, "head": {**params["head"], "bias": jnp.full(1, 7.0)}},
    )


# Divergence


def test_kl_to_itself_is_zero():
    scale = 0.3
    q = mean_field({"w": jnp.full((4, 4), 0.5)}, scale=scale)
    np.testing.assert_allclose(kl(q, priors.Gaussian(scale, mean=0.5)), 0, atol=1e-5)


def test_kl_adds_up_over_weights():
    q, prior = gaussian(0, (3, 4)), priors.Gaussian(0.7, 0.1)
    one_by_one = [kl(Gaussian(m, rho), prior) for m, rho in zip(q.mean.flatten(), q.rho.flatten())]
    np.testing.assert_allclose(kl(q, prior), sum(one_by_one), rtol=1e-6)
    tree = {"a": q, "b": {"c": q}, "array": jnp.full(9, 1e3)}
    np.testing.assert_allclose(kl(tree, prior), 2 * kl(q, prior), rtol=1e-6)


def test_point_estimates_have_no_kl(params):
    assert kl(params, priors.Gaussian()) == 0
    with pytest.raises(InputError, match="`params` must hold at least one array"):
        kl({}, priors.ScaleMixture(), jax.random.key(0))


def test_kl_depends_on_the_scale_and_not_on_its_square():
    # KL(N(0, 2²) ‖ N(0, 4²)) = log 2 + 1/8 − 1/2, worked by hand.
    q = mean_field({"w": jnp.zeros(())}, scale=2.0)
    np.testing.assert_allclose(kl(q, priors.Gaussian(4.0)), np.log(2) - 0.375, rtol=1e-6)
