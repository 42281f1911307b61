import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfractal.data import channel_moments, random_flip, random_shift, standardise
from jfractal.errors import InputError

RNG = np.random.default_rng(0)


def augment(key, images, *, shift=4, mode="constant"):
    """What the paper does to a batch: flip, then shift."""
    key_flip, key_shift = jax.random.split(key)
    return random_shift(key_shift, random_flip(key_flip, images), pixels=shift, mode=mode)


def all_crops(image, shift, mode):
    """Every result that is possible, as (flip, top, left) -> image."""
    height, width, _ = image.shape
    crops = {}
    for flip in (False, True):
        turned = image[:, ::-1] if flip else image
        padded = np.pad(turned, ((shift, shift), (shift, shift), (0, 0)), mode=mode)
        for top in range(2 * shift + 1):
            for left in range(2 * shift + 1):
                crops[flip, top, left] = padded[top : top + height, left : left + width]
    return crops


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_every_image_is_one_of_the_possible_crops(getkey, mode, dtype):
    images = RNG.integers(1, 256, (16, 6, 7, 3)).astype(dtype)
    augmented = augment(getkey(), jnp.asarray(images), shift=2, mode=mode)
    assert augmented.dtype == dtype and augmented.shape == images.shape
    drawn = set()
    for image, result in zip(images, np.asarray(augmented), strict=True):
        crops = all_crops(image, 2, mode)
        assert len(crops) == 2 * (2 * 2 + 1) ** 2
        matches = [draw for draw, crop in crops.items() if np.array_equal(crop, result)]
        assert len(matches) == 1
        drawn.update(matches)
    assert len(drawn) > 8  # of 16 draws among 50: each image has its own


def test_draws_are_uniform_and_independent():
    shift, num = 1, 9000
    # One bright pixel off the centre shows the flip and the shift.
    image = np.zeros((1, 5, 5, 1), np.float32)
    image[0, 2, 3] = 1.0
    images = jnp.asarray(np.repeat(image, num, axis=0))
    result = np.asarray(augment(jax.random.key(1), images, shift=shift))
    where = result.reshape(num, 25).argmax(1)
    crops = [crop.ravel().argmax() for crop in all_crops(image[0], shift, "constant").values()]
    expected = np.bincount(crops, minlength=25) / len(crops) * num
    seen = np.bincount(where, minlength=25)
    assert np.all(seen[expected == 0] == 0)
    possible = expected > 0
    chi_square = np.sum((seen[possible] - expected[possible]) ** 2 / expected[possible])
    assert chi_square < 40  # 14 degrees of freedom: 99.98 %


def test_flips_are_fair():
    images = jnp.asarray(np.tile(np.array([0.0, 1.0], np.float32), (4000, 1, 1))[..., None])
    flipped = random_flip(jax.random.key(0), images)[:, 0, 0, 0]
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)


def test_the_key_decides(getkey):
    images = jnp.asarray(RNG.normal(size=(8, 8, 8, 3)), jnp.float32)
    key, other = getkey(), getkey()
    first = augment(key, images)
    np.testing.assert_array_equal(first, augment(key, images))
    np.testing.assert_array_equal(first, jax.jit(augment)(key, images))
    assert not np.array_equal(first, augment(other, images))


@pytest.mark.parametrize(("shift", "mode"), [(-1, "constant"), (4, "reflect"), (1, "edge")])
def test_impossible_shift(getkey, shift, mode):
    with pytest.raises(InputError, match="`mode`" if mode == "edge" else "`pixels`"):
        random_shift(getkey(), jnp.ones((2, 6, 4, 1)), pixels=shift, mode=mode)


def test_moments_are_numpys():
    images = RNG.integers(0, 256, (7, 5, 4, 3), np.uint8)
    mean, std = channel_moments(images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 1, 2)), rtol=1e-12)


def test_standardised_images_have_mean_0_and_deviation_1():
    images = RNG.integers(0, 256, (50, 5, 4, 3), np.uint8)
    result = jax.jit(standardise)(images, *channel_moments(images))
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result.mean((0, 1, 2)), 0.0, atol=1e-6)
    np.testing.assert_allclose(result.std((0, 1, 2)), 1.0, rtol=1e-6)


def test_standardise_by_hand():
    images = np.array([[[[0, 255]]]], np.uint8)
    result = standardise(images, np.array([0.5, 0.5]), np.array([0.25, 0.5]))
    np.testing.assert_allclose(result, [[[[-2.0, 1.0]]]])


def test_moments_of_nothing_and_of_a_constant():
    with pytest.raises(InputError, match="none of them empty"):
        channel_moments(np.zeros((0, 4, 4, 3), np.uint8))
    images = RNG.integers(0, 256, (7, 5, 4, 3), np.uint8)
    images[..., 1] = 77
    with pytest.raises(InputError, match=r"channels \[1\] do not"):
        channel_moments(images)
