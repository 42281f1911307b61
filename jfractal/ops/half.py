"""What convolutions and products of bfloat16 are compiled to on a CPU, by processor and shape.

XLA's convolution never reaches the arithmetic that a processor has for bfloat16: it widens every
number first. Its matrix product does, if both factors lie in memory row by row and the result is
float32. There are two candidates, and this file chooses:

===============  ==============================  ============  =====================================
a processor      of these                        makes         because
===============  ==============================  ============  =====================================
``amx_bf16``     windows over 64 features and    ``products``  Matrix units multiply 1.4 to 10 times
                 more to as many, at stride 1                  as fast; fewer do not fill them.
``avx512_bf16``  the same of 128 features; for   ``products``  They take .55 to .83 of the time of
                 gradients of kernels, of 256                  float32; of fewer, up to 1.5 of it.
both             small maps, dense layers,       ``products``  They are products in float32 as well,
                 windows of 1×1                                which take .3 to .8 of the time.
any              all others; input gradients of  ``single``    It is what XLA does by itself. To
                 fewer pixels than features                    turn a kernel costs more than few
                                                               pixels gain.
===============  ==============================  ============  =====================================

``single`` is what float32 is compiled to, between conversions; of those XLA leaves out what it can.
All sums are float32. The first line was measured on an Intel Sapphire Rapids, the others on an AMD
EPYC; ``python -m benchmarks.lowerings`` measures where it runs.
"""

from collections.abc import Callable
from math import ceil, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jfractal.ops import lowering
from jfractal.ops.lowering import ConvSpec, Role, as_matrix_product, turned, varying_alike, windows
from jfractal.ops.processor import processor

__all__ = ["choose", "on_cpu", "products", "single"]

Shape = tuple[int, ...]
Lowering = Callable[[ConvSpec, Role, jax.ShapeDtypeStruct, jax.Array, jax.Array], jax.Array]
"""See `jfractal.ops.lowering.on_accelerator`."""


class Windows(NamedTuple):
    """When windows become products, and how.

    Attributes:
        outputs: Least features of input and output, for the output and the gradient by the input.
        kernels: The same for the gradient by the kernel.
        pixels: Of so many at a time the matrix of windows stays in the cache.
    """

    outputs: int
    kernels: int
    pixels: int


WINDOWS = {"amx_bf16": Windows(64, 64, 5120), "avx512_bf16": Windows(128, 256, 512)}
MOST_IMAGES = 20  # at a time


def on_cpu(
    spec: ConvSpec, result: Role, like: jax.ShapeDtypeStruct, a: jax.Array, b: jax.Array
) -> jax.Array:
    """One array of a convolution; arguments as for `jfractal.ops.lowering.on_accelerator`."""
    if {a.dtype, b.dtype} != {jnp.dtype(jnp.bfloat16)}:
        return lowering.on_cpu(spec, result, like, a, b)
    shapes = dict(zip([role for role in lowering.ROLES if role != result], (a.shape, b.shape)))
    return choose(spec, result, shapes | {result: like.shape})(spec, result, like, a, b)


def choose(spec: ConvSpec, result: Role, shapes: dict[Role, Shape]) -> Lowering:
    """The candidate for this processor: `products` or `single`."""
    arithmetic, (x, w, g) = processor().arithmetic, (shapes[role] for role in lowering.ROLES)
    is_strided = not set(spec.strides) <= {1}
    if arithmetic not in WINDOWS or not spec.is_plain(len(x)):
        return single
    is_few = _is_window(w) and prod(g[:-1]) < g[-1]
    if result == "x" and (is_strided or is_few):
        return single
    if not _is_window(w) or lowering.is_matrix_product(g, w):
        return products
    table = WINDOWS[arithmetic]
    least = table.kernels if result == "w" else table.outputs
    return products if min(w[-2:]) >= least and not is_strided else single


def _is_window(w: Shape) -> bool:
    return prod(w[:-2]) > 1


def single(
    spec: ConvSpec, result: Role, like: jax.ShapeDtypeStruct, a: jax.Array, b: jax.Array
) -> jax.Array:
    """Computes in float32, or in the wider of the two types."""
    dtype = jnp.promote_types(jnp.result_type(a, b), jnp.float32)
    spec, wide = spec._replace(preferred_element_type=None), jax.ShapeDtypeStruct(like.shape, dtype)
    a, b = a.astype(dtype), b.astype(dtype)
    lower = lowering.on_cpu if spec.strides else lowering.on_accelerator
    return lower(spec, result, wide, a, b).astype(like.dtype)


def products(
    spec: ConvSpec, result: Role, like: jax.ShapeDtypeStruct, a: jax.Array, b: jax.Array
) -> jax.Array:
    """Computes a plain convolution by matrix products; its input gradient needs stride 1."""
    spec = spec._replace(preferred_element_type=jnp.dtype(jnp.float32))
    if result == "w":
        return _kernel_gradient(spec, like, a, b)
    if result == "x":
        spec, kernel = turned(spec, like.shape, b.shape, a)
        a, b = (b, kernel) if _is_window(kernel.shape) else (_longer(b, -1), _longer(kernel, -2))
    return _outputs(spec, like, a, b)


def _longer(x: jax.Array, axis: int) -> jax.Array:
    """With one zero more, to be summed over: or XLA transposes within the product, as float32."""
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, 1)
    return jnp.pad(x, padding)


def _outputs(spec: ConvSpec, like: jax.ShapeDtypeStruct, x: jax.Array, w: jax.Array) -> jax.Array:
    def of(x: jax.Array) -> jax.Array:
        part = jax.ShapeDtypeStruct((len(x), *like.shape[1:]), jnp.float32)
        return as_matrix_product(spec, "g", part, x, w).astype(like.dtype)

    parts = _parts(like.shape, w.shape, x)
    if len(parts) == 1:
        return of(x)
    return lax.map(of, parts).reshape(-1, *like.shape[1:])[: len(x)]


def _kernel_gradient(
    spec: ConvSpec, like: jax.ShapeDtypeStruct, x: jax.Array, g: jax.Array
) -> jax.Array:
    def of(x: jax.Array, g: jax.Array) -> jax.Array:
        met = windows(spec, like.shape[:-2], g.shape[1:-1], jnp.moveaxis(x, -1, 0), start=2)
        rows = jnp.concatenate([entries.reshape(x.shape[-1], -1) for entries in met])
        factors = rows, g.reshape(-1, g.shape[-1])
        if not _is_window(like.shape):
            factors = _longer(rows, -1), _longer(factors[1], 0)
        return jnp.matmul(*factors, precision=spec.precision, preferred_element_type=jnp.float32)

    xs, gs = (_parts(g.shape, like.shape, images) for images in (x, g))
    total, *_ = varying_alike(of(xs[0], gs[0]), x, g)
    if len(xs) > 1:
        add = lambda total, part: (total + of(*part), None)
        total, _ = lax.scan(add, total, (xs[1:], gs[1:]))
    return total.reshape(like.shape).astype(like.dtype)


def _parts(g: Shape, w: Shape, images: jax.Array) -> jax.Array:
    """Images in parts of equal size, "parts images *", the last filled up with zeros."""
    is_large = _is_window(w) and prod(g[1:-1]) > lowering.SMALL_MAP
    pixels = WINDOWS.get(processor().arithmetic, WINDOWS["amx_bf16"]).pixels
    most = max(min(MOST_IMAGES, pixels // prod(g[1:-1])), 1) if is_large else len(images)
    number = ceil(len(images) / most)
    size = ceil(len(images) / number)
    missing = number * size - len(images)
    filled = jnp.pad(images, [(0, missing)] + [(0, 0)] * (images.ndim - 1))
    return filled.reshape(number, size, *images.shape[1:])
