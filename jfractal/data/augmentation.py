"""What is done to images on their way into a net: standardisation, random flips and shifts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from jfractal.errors import InputError
from jfractal.typing import Array, Float, KeyArray, Shaped

__all__ = ["channel_moments", "flip_and_shift", "standardise"]


def channel_moments(
    images: UInt8[np.ndarray, "batch height width channels"],
) -> tuple[Float64[np.ndarray, " channels"], Float64[np.ndarray, " channels"]]:
    """Mean and standard deviation of each channel, of intensities in [0, 1].

    Args:
        images: The training images, on the host.

    Returns:
        Mean and standard deviation (that of a population), each of shape (channels,).

    Raises:
        InputError: There is no pixel, or a channel is constant, so that `standardise` would
            divide by zero.
    """
    count = images[..., 0].size
    if count == 0:
        raise InputError(f"`images` must hold at least one pixel, got shape {images.shape}")
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
        mean: Channel means, of intensities in [0, 1]; see `channel_moments`.
        std: Channel standard deviations, of intensities in [0, 1].

    Returns:
        Images with mean 0 and standard deviation 1 over the set the moments come from.
    """
    shift, scale = (jnp.asarray(m, jnp.float32)[None, None, None, :] for m in (mean, std))
    return (jnp.asarray(images, jnp.float32) / 255 - shift) / scale


def flip_and_shift(
    key: KeyArray,
    images: Shaped[Array | np.ndarray, "batch height width channels"],
    *,
    shift: int = 4,
    mode: str = "constant",
) -> Shaped[Array, "batch height width channels"]:
    """Mirror each image with probability ½ and move it by up to `shift` pixels each way.

    The usual augmentation of CIFAR: pad by `shift` on all sides, then cut out a window of the
    old size at random. Every image has a draw of its own.

    Args:
        key: Randomness of the batch.
        images: Of any dtype; after `standardise`, padding with zeros is padding with the mean.
        shift: Greatest move, in pixels.
        mode: What the padding holds: "constant" for zeros ("+" in the tables of the FractalNet
            paper) or "reflect" for the image's reflection ("++").

    Returns:
        Images of the same shape and dtype.

    Raises:
        InputError: `shift` is negative, or does not fit a reflection, or `mode` is unknown.

    References:
        Larsson et al., FractalNet, ICLR 2017, section 4.1.
    """
    if mode not in ("constant", "reflect"):
        raise InputError(f"`mode` must be 'constant' or 'reflect', got {mode!r}")
    _, height, width, _ = images.shape
    if shift < 0 or (mode == "reflect" and shift >= min(height, width)):
        raise InputError(
            f"`shift` must be at least 0 and, for a reflection, less than the image's sides "
            f"({height}, {width}), got {shift}"
        )
    keys = jax.random.split(key, len(images))
    return jax.vmap(partial(_flip_and_shift, shift=shift, mode=mode))(keys, jnp.asarray(images))


def _flip_and_shift(
    key: KeyArray, image: Shaped[Array, "height width channels"], *, shift: int, mode: str
) -> Shaped[Array, "height width channels"]:
    flip_key, shift_key = jax.random.split(key)
    image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
    padded = jnp.pad(image, ((shift, shift), (shift, shift), (0, 0)), mode=mode)
    top, left = jax.random.randint(shift_key, (2,), 0, 2 * shift + 1)
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)
