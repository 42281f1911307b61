"""Whitened patches: their second moments, and what the layer keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal.data import patch_whitening, whiten_patches


@pytest.fixture(scope="module")
def images():
    """Smooth random images: neighbouring pixels and the channels are correlated."""
    noise = np.random.default_rng(0).normal(size=(200, 20, 20, 3))
    smooth = noise + np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=2)
    return (smooth @ np.array([[1.0, 0.5, 0.2], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])).astype("f4")


def inner(maps):
    """Filters' outputs from both of their parts, without the patches that overlap the border."""
    positive, negative = np.split(np.asarray(maps), 2, axis=-1)
    return (positive - negative)[:, 1:-1, 1:-1].reshape(-1, positive.shape[-1])


def test_whitened_patches_have_the_identity_as_second_moments(images):
    filters = patch_whitening(images[:, 1:-1, 1:-1], num_filters=48, epsilon=1e-9)
    rows = inner(whiten_patches(images, filters))
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(48), atol=0.02)


def test_the_first_filters_are_the_leading_principal_directions(images):
    """Against numpy's singular values of the patches."""
    filters = np.asarray(patch_whitening(images, num_filters=5, epsilon=1e-9)).reshape(48, 5)
    corners = range(0, 20 - 4 + 1, 2)
    patches = [images[:, i : i + 4, j : j + 4] for i in corners for j in corners]
    rows = np.concatenate(patches).reshape(-1, 48).astype(float)
    _, singular, directions = np.linalg.svd(rows / np.sqrt(len(rows)), full_matrices=False)
    np.testing.assert_allclose(np.linalg.norm(filters, axis=0), 1 / singular[:5], rtol=1e-3)
    cosines = np.abs(np.sum(directions[:5].T * filters * singular[:5], axis=0))
    np.testing.assert_allclose(cosines, 1, rtol=1e-3)


def test_epsilon_bounds_the_gain(images):
    filters = patch_whitening(0 * images, num_filters=3, epsilon=0.25)
    np.testing.assert_allclose(np.linalg.norm(filters.reshape(48, 3), axis=0), 2.0, rtol=1e-5)


def test_all_filters_lose_nothing(images):
    """Every 4×4 patch can be computed from what 48 filters make of it."""
    filters = patch_whitening(images, num_filters=48)
    rows = inner(whiten_patches(images, filters))
    patches = [images[:, i : i + 4, j : j + 4] for i in range(1, 16, 2) for j in range(1, 16, 2)]
    expected = np.stack(patches, axis=1).reshape(-1, 48)
    back = np.linalg.solve(np.asarray(filters, float).reshape(48, 48).T, rows.T).T
    np.testing.assert_allclose(back, expected, atol=1e-2)


def test_a_mirrored_image_has_the_mirrored_maps_of_mirrored_filters(images):
    """The grid of patches is symmetrical, so that flips cost the layer nothing."""
    filters = patch_whitening(images, num_filters=8)
    mirrored = whiten_patches(images[:, :, ::-1], filters[:, ::-1])
    expected = whiten_patches(images, filters)[:, :, ::-1]
    np.testing.assert_allclose(mirrored, expected, atol=1e-4)


def test_jit_and_shapes(images):
    filters = patch_whitening(images, num_filters=8)
    maps = jax.jit(whiten_patches)(images[:2], filters)
    assert maps.shape == (2, 10, 10, 16)
    assert maps.dtype == jnp.float32


@pytest.mark.parametrize(
    ("shape", "num_filters", "message"),
    [
        ((2, 3, 8, 1), 1, "at least 4 pixels high and wide"),
        ((2, 8, 8, 1), 17, "`num_filters` must be"),
        ((2, 8, 8, 1), 0, "`num_filters` must be"),
    ],
)
def test_bad_input_is_one_sentence(shape, num_filters, message):
    with pytest.raises(jf.InputError, match=message):
        patch_whitening(np.ones(shape, np.float32), num_filters=num_filters)
