"""Preprocessing and augmentation of images: standardisation, random flips and shifts."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from jfractal.arguments import as_array, check_choice, check_finite, check_key, check_values
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.typing import Array, Float, KeyArray, Shaped

__all__ = ["channel_moments", "random_flip", "random_shift", "standardise"]


def channel_moments(
    images: UInt8[np.ndarray, "batch height width channels"],
) -> tuple[Float64[np.ndarray, " channels"], Float64[np.ndarray, " channels"]]:
    """Mean and standard deviation of each channel, for intensities scaled to [0, 1].

    Args:
        images: The training images, on the host.

    Returns:
        Mean and population standard deviation, each of shape (channels,).

    Raises:
        InputError: If there is no pixel, or a channel is constant, so that `standardise` would
            divide by zero.
    """
    images = np.asarray(_raw(images))
    count = images[..., 0].size
    # Sums of integers are exact: no rounding over 50 million pixels, and no float copy of them.
    total = np.einsum("bhwc->c", images, dtype=np.uint64, casting="unsafe")
    total_square = np.einsum("bhwc,bhwc->c", images, images, dtype=np.uint64, casting="unsafe")
    mean = total / count
    variance = total_square / count - mean**2
    if constant := np.flatnonzero(variance <= 0).tolist():
        raise InputError(f"`images` must vary in every channel, but channels {constant} do not")
    return mean / 255, np.sqrt(variance) / 255


def standardise(
    images: UInt8[Array | np.ndarray, "batch height width channels"],
    mean: Float[Array | np.ndarray, " channels"],
    std: Float[Array | np.ndarray, " channels"],
) -> Float32[Array, "batch height width channels"]:
    """``(images / 255 - mean) / std`` per channel.

    Args:
        images: Raw intensities, 0 to 255.
        mean: Channel means, for intensities in [0, 1]; see `channel_moments`.
        std: Channel standard deviations, for intensities in [0, 1].

    Returns:
        Images with mean 0 and standard deviation 1 over the set that the moments come from.

    Raises:
        InputError: If `images` are not uint8, a moment is not finite, or a standard deviation is 0.
    """
    images = _raw(images)
    shift, scale = as_array("mean", mean), as_array("std", std)
    for name, moment in (("mean", shift), ("std", scale)):
        check_finite(name, moment)
        if moment.shape != images.shape[-1:]:
            raise InputError(
                f"`{name}` must be a number for each channel of `images`, {images.shape[-1:]}, got "
                f"{moment.shape}"
            )
    check_values("std", scale, "above 0", lambda x: x > 0)
    shift, scale = (jnp.asarray(m, jnp.float32)[None, None, None, :] for m in (shift, scale))
    return (jnp.asarray(images, jnp.float32) / 255 - shift) / scale


def random_flip(
    key: KeyArray, images: Shaped[Array | np.ndarray, "batch height width channels"]
) -> Shaped[Array, "batch height width channels"]:
    """Mirrors each image with probability ½.

    Args:
        key: Random key; every image gets its own draw.
        images: Images of any dtype.

    Returns:
        Images of the same shape and dtype.

    Raises:
        InputError: If `key` is not one key, or `images` do not have four axes.

    References:
        Larsson et al., FractalNet, ICLR 2017, section 4.1.
    """
    check_key("key", key)
    images = _images(images)
    mirrored = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
    return jnp.where(mirrored, images[:, :, ::-1], images)


def random_shift(
    key: KeyArray,
    images: Shaped[Array | np.ndarray, "batch height width channels"],
    *,
    pixels: int = 4,
    mode: str = "constant",
) -> Shaped[Array, "batch height width channels"]:
    """Shifts each image by up to `pixels` each way: pads all sides and cuts out a random window.

    Args:
        key: Random key; every image gets its own draw.
        images: Images of any dtype. After `standardise`, padding with zeros means padding with the
            mean.
        pixels: Largest shift.
        mode: Content of the padding: "constant" for zeros ("+" in the tables of the FractalNet
            paper), or "reflect" for the image's reflection ("++").

    Returns:
        Images of the same shape and dtype.

    Raises:
        InputError: If `pixels` is negative or does not fit the image or its reflection, or `mode`
            is unknown.

    References:
        Larsson et al., FractalNet, ICLR 2017, section 4.1.
    """
    check_key("key", key)
    check_choice("mode", mode, ("constant", "reflect"))
    images = _images(images)
    count, height, width, channels = images.shape
    check_counts(0, most=max(height, width), pixels=pixels)
    if mode == "reflect" and pixels >= min(height, width):
        raise InputError(
            f"`pixels` must be less than the image's sides ({height}, {width}) for a reflection, "
            f"got {pixels}"
        )
    border = (pixels, pixels)
    padded = jnp.pad(images, ((0, 0), border, border, (0, 0)), mode=mode)
    corners = jax.random.randint(key, (count, 2), 0, 2 * pixels + 1)

    def window(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (*corner, 0), (height, width, channels))

    return jax.vmap(window)(padded, corners)


def _images(images: Array | np.ndarray) -> Array | np.ndarray:
    images = as_array("images", images)
    if images.ndim != 4 or not images.size:
        raise InputError(
            "`images` must have the axes `batch height width channels`, none of them empty, got "
            f"shape {images.shape}"
        )
    return images


def _raw(images: Array | np.ndarray) -> Array | np.ndarray:
    images = _images(images)
    if images.dtype != np.uint8:
        raise InputError(f"`images` must be uint8, intensities 0 to 255, got {images.dtype}")
    return images
