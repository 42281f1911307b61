"""What convolutions and products of bfloat16 are compiled to on a CPU, by processor and shape.

XLA's convolution never uses a processor's arithmetic for bfloat16: it widens every number first.
XLA's matrix product does use it, if both factors are stored row by row and the result is float32.
There are two candidates, and this file chooses one:

===============  ==============================  ============  =====================================
a processor      of these                        makes         because
===============  ==============================  ============  =====================================
``amx_bf16``     windows over 64 features and    ``products``  They take .3 to .5 of the time of
                 more to as many, at stride 1                  float32. Of 32 and fewer they take
                                                               .7 to 1.6 of it.
``avx512_bf16``  the same of 128 features        ``products``  They take .5 to .7 of the time of
                                                               float32. Of 64 they take .65 to .85,
                                                               alone; a step of FractalNet-20 was no
                                                               faster with these.
both             small maps, dense layers,       ``products``  They are products in float32 as well,
                 windows of 1×1                                which take .3 to .8 of the time.
any              all others; input gradients of  ``single``    It is what XLA does by itself. To
                 fewer pixels than features                    turn a kernel costs more than few
                                                               pixels gain.
===============  ==============================  ============  =====================================

``single`` runs the float32 candidate between conversions, of which XLA omits as many as it can. All
sums are float32. Measured on an Intel Xeon with AMX and on an AMD EPYC; ``python -m
benchmarks.lowerings`` measures the machine that it runs on.
"""

from collections.abc import Callable
from functools import reduce
from itertools import product
from math import ceil, prod
from operator import mul
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jfractal.ops import lowering
from jfractal.ops.lowering import ConvSpec, Role, turned, varying_alike, windows
from jfractal.ops.processor import processor

__all__ = ["choose", "on_cpu", "products", "single"]

Shape = tuple[int, ...]
Lowering = Callable[[ConvSpec, Role, jax.ShapeDtypeStruct, jax.Array, jax.Array], jax.Array]
"""See `jfractal.ops.lowering.on_accelerator`."""


class Windows(NamedTuple):
    """When windows become products, and how.

    Attributes:
        outputs: Least number of input and output features, for the output and the gradient by the
            input.
        kernels: The same for the gradient by the kernel.
        pixels: Number of pixels at a time, so that what a product reads stays in the cache.
    """

    outputs: int
    kernels: int
    pixels: int


WINDOWS = {"amx_bf16": Windows(64, 64, 1024), "avx512_bf16": Windows(128, 128, 512)}
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
    if result == "x" and (is_strided or (_is_window(w) and prod(g[:-1]) < g[-1])):
        return single
    if not _is_window(w) or lowering.is_matrix_product(g, w):
        return products
    table = WINDOWS[arithmetic]
    least = table.kernels if result == "w" else table.outputs
    return products if min(w[-2:]) >= least and not is_strided else single


def _is_window(w: Shape) -> bool:
    return prod(w[:-2]) > 1


def _is_large(g: Shape, w: Shape) -> bool:
    return _is_window(w) and prod(g[1:-1]) > lowering.SMALL_MAP


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
    """Computes a plain convolution by matrix products; its input gradient needs stride 1.

    One product for each row of the window, and one for each of its entries in the gradient by the
    kernel. Between them numbers move as integers: XLA on CPU moves bfloat16 through float32, and
    rounds every number again.
    """
    a, b = (lax.bitcast_convert_type(x, jnp.uint16) for x in (a, b))
    if result == "w":
        return _kernel_gradient(spec, like, a, b)
    if result == "x":
        spec, kernel = turned(spec, like.shape, b.shape, a)
        a, b = (b, kernel) if _is_window(kernel.shape) else (_longer(b, -1), _longer(kernel, -2))
    return _outputs(spec, like, a, b)


def _half(x: jax.Array) -> jax.Array:
    return lax.bitcast_convert_type(x, jnp.bfloat16)


def _product(spec: ConvSpec, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=spec.precision, preferred_element_type=jnp.float32)


def _longer(x: jax.Array, axis: int) -> jax.Array:
    """With one more zero in the sum; otherwise XLA transposes within the product, in float32."""
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, 1)
    return jnp.pad(x, padding)


def _outputs(spec: ConvSpec, like: jax.ShapeDtypeStruct, x: jax.Array, w: jax.Array) -> jax.Array:
    num_rows = prod(w.shape[:-3]) if _is_window(w.shape) else 1
    kernels = [_half(row) for row in w.reshape(num_rows, -1, w.shape[-1])]

    def of(x: jax.Array) -> jax.Array:
        rows = _rows(spec, w.shape[:-2], like.shape[1:-1], x)
        total = reduce(jnp.add, [_product(spec, *pair) for pair in zip(rows, kernels)])
        out = total.reshape(len(x), *like.shape[1:]).astype(like.dtype)
        return lax.bitcast_convert_type(out, movable)

    movable = jnp.uint16 if like.dtype == jnp.bfloat16 else like.dtype
    parts = _parts(like.shape, w.shape, x)
    out = of(x) if len(parts) == 1 else lax.map(of, parts).reshape(-1, *like.shape[1:])[: len(x)]
    return lax.bitcast_convert_type(out, like.dtype)


def _rows(spec: ConvSpec, window: Shape, space: Shape, x: jax.Array) -> list[jax.Array]:
    """A matrix for each row of the window: the inputs under its entries, side by side.

    Each is "pixels entries×features".
    """
    met = [x]
    if space:
        entries = windows(_over(spec, slice(-1, None)), window[-1:], space[-1:], x, x.ndim - 2)
        side_by_side = jnp.concatenate(entries, axis=-1)
        met = windows(_over(spec, slice(-1)), window[:-1], space[:-1], side_by_side)
    return [_half(entries.reshape(-1, entries.shape[-1])) for entries in met]


def _over(spec: ConvSpec, axes: slice) -> ConvSpec:
    """The part of a convolution that concerns some of its spatial axes."""
    return spec._replace(
        strides=spec.strides[axes],
        padding=spec.padding[axes],
        rhs_dilation=spec.rhs_dilation[axes],
    )


def _kernel_gradient(
    spec: ConvSpec, like: jax.ShapeDtypeStruct, x: jax.Array, g: jax.Array
) -> jax.Array:
    is_flat = _is_large(g.shape, like.shape) and set(spec.strides) <= {1}

    def of(x: jax.Array, g: jax.Array) -> jax.Array:
        columns, rows = (_flat if is_flat else _columns)(spec, like.shape[:-2], x, g)
        return jnp.stack([_product(spec, _half(entry), _half(rows)) for entry in columns])

    xs, gs = (_parts(g.shape, like.shape, images) for images in (x, g))
    total, *_ = varying_alike(of(xs[0], gs[0]), x, g)
    if len(xs) > 1:
        add = lambda total, part: (total + of(*part), None)
        total, _ = lax.scan(add, total, (xs[1:], gs[1:]))
    return total.reshape(like.shape).astype(like.dtype)


def _columns(
    spec: ConvSpec, window: Shape, x: jax.Array, g: jax.Array
) -> tuple[list[jax.Array], jax.Array]:
    """A matrix for each entry of the window, of the inputs under it, "features pixels", and `g`.

    The matrix of `g` is "pixels features".
    """
    met = windows(spec, window, g.shape[1:-1], jnp.moveaxis(x, -1, 0), start=2)
    columns, rows = [entry.reshape(x.shape[-1], -1) for entry in met], g.reshape(-1, g.shape[-1])
    if prod(window) > 1:
        return columns, rows
    return [_longer(entry, -1) for entry in columns], _longer(rows, 0)


def _flat(
    spec: ConvSpec, window: Shape, x: jax.Array, g: jax.Array
) -> tuple[list[jax.Array], jax.Array]:
    """What `_columns` returns, at stride 1, by slices of one flat image, which are fast to copy.

    Pixels are numbered through the padded input. An entry of the window is then an offset, and `g`
    is padded with zeros to the same numbering.
    """
    zero = jnp.zeros((), x.dtype)
    x = lax.pad(x, zero, [(0, 0, 0), *((low, high, 0) for low, high in spec.padding), (0, 0, 0)])
    space = x.shape[1:-1]
    beyond = [(0, n - m) for n, m in zip(space, g.shape[1:-1])]
    rows = jnp.pad(g, [(0, 0), *beyond, (0, 0)]).reshape(-1, g.shape[-1])
    steps = [d * prod(space[axis + 1 :]) for axis, d in enumerate(spec.rhs_dilation)]
    starts = [sum(map(mul, offset, steps)) for offset in product(*map(range, window))]
    flat = jnp.pad(x.reshape(-1, x.shape[-1]).T, [(0, 0), (0, starts[-1])])
    return [flat[:, start : start + len(rows)] for start in starts], rows


def _parts(g: Shape, w: Shape, images: jax.Array) -> jax.Array:
    """Images in parts of equal size, "parts images *", the last one padded with zeros."""
    pixels = WINDOWS.get(processor().arithmetic, WINDOWS["amx_bf16"]).pixels
    most = max(min(MOST_IMAGES, pixels // prod(g[1:-1])), 1) if _is_large(g, w) else len(images)
    number = ceil(len(images) / most)
    size = ceil(len(images) / number)
    missing = number * size - len(images)
    filled = jnp.pad(images, [(0, missing)] + [(0, 0)] * (images.ndim - 1))
    return filled.reshape(number, size, *images.shape[1:])
