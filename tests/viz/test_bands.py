import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jfractal.errors import InputError
from jfractal.viz import Band, predictive_bands

X = np.linspace(-1.0, 1.0, 21)
SCALE = 0.1 + X**2
DATA = (np.array([-0.5, 0.5]), np.array([0.2, -0.2]))


def band(mean):
    quantiles = [stats.norm.ppf(p, mean, SCALE) for p in (0.025, 0.25, 0.75, 0.975)]
    return Band(mean, *quantiles)


def extent(collection):
    """Lower and upper edge of a filled band over X."""
    vertices = collection.get_paths()[0].vertices
    at = [vertices[np.isclose(vertices[:, 0], x), 1] for x in X]
    return np.array([y.min() for y in at]), np.array([y.max() for y in at])


def test_bands_and_lines_are_the_data():
    methods = {"HMC": band(np.sin(X)), "mean field": band(np.cos(X))}
    figure = predictive_bands(X, methods, *DATA, truth=np.sin(X))
    for axes, (name, data) in zip(figure.axes, methods.items()):
        assert axes.get_title(loc="left") == name
        wide, narrow = axes.collections
        np.testing.assert_allclose(extent(wide), (data.lower95, data.upper95))
        np.testing.assert_allclose(extent(narrow), (data.lower50, data.upper50))
        mean, truth, points = axes.lines
        np.testing.assert_array_equal(mean.get_ydata(), data.mean)
        np.testing.assert_array_equal(truth.get_ydata(), np.sin(X))
        np.testing.assert_array_equal(points.get_xydata(), np.stack(DATA, axis=1))


def test_panels_share_their_axes():
    figure = predictive_bands(X, {"a": band(X), "b": band(5.0 + X)}, *DATA)
    one, other = figure.axes
    assert one.get_ylim() == other.get_ylim() and one.get_xlim() == other.get_xlim() == (-1, 1)


def test_jax_arrays_will_do(collisions):
    figure = predictive_bands(
        jnp.asarray(X), {"HMC": Band(*map(jnp.asarray, band(X)))}, *map(jnp.asarray, DATA), truth=X
    )
    assert not collisions(figure, figure.legends[0].get_texts())


def test_bad_inputs():
    with pytest.raises(InputError, match="`methods`"):
        predictive_bands(X, {}, *DATA)
    with pytest.raises(InputError, match=r"`x_grid`.*ascending"):
        predictive_bands(X[::-1], {"a": band(X)}, *DATA)
    with pytest.raises(InputError, match="`x_grid`"):
        predictive_bands(X[:1], {"a": band(X)}, *DATA)
    with pytest.raises(InputError, match=r"`x_train`.*\(2,\).*\(1,\)"):
        predictive_bands(X, {"a": band(X)}, DATA[0], DATA[1][:1])
    with pytest.raises(InputError, match=r"'a'.*\(21,\).*\(20,\)"):
        predictive_bands(X, {"a": band(X)._replace(upper95=X[:-1])}, *DATA)
    with pytest.raises(InputError, match="`truth`"):
        predictive_bands(X, {"a": band(X)}, *DATA, truth=X[:-1])
