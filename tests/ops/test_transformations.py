"""The table: every operation under every transformation of JAX, against plain JAX, in float64."""

import os
import subprocess
import sys
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jfractal as jf
from jfractal import ops
from jfractal.nn.estimators import draw
from jfractal.posterior.gaussian import Estimator, Gaussian

NHWC, NWC = ("NHWC", "HWIO", "NHWC"), ("NWC", "WIO", "NWC")
KEY = jax.random.key(7)
ESTIMATORS = Estimator.__args__  # in half precision their draws are other draws


def conv(convolve, x, w, strides=(1, 1), numbers=NHWC, **options):
    return convolve(x, w, strides, "SAME", dimension_numbers=numbers, **options)


def normalized(x, w, axes):
    """Line by line, as `ops.normalize` defines it."""
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-3) * (1 + w) + w


def pooled(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def of_conv(x, w, **options):
    both = (ops.conv_general_dilated, lax.conv_general_dilated)
    return (*(partial(conv, convolve, **options) for convolve in both), x, w)


def of_norm(axes, scale):
    def ours(x, w):
        return ops.normalize(x, 1 + w, w, axes=axes, epsilon=1e-3).value

    return ours, partial(normalized, axes=axes), (2, 2, 3, 2), scale


def plain_estimator(name, x, w):
    """The estimators as the papers have them, in plain JAX, with the noise of ours."""
    std, normal = jax.nn.softplus(w - 1), partial(jax.random.normal, dtype=w.dtype)
    key_noise, *keys = jax.random.split(KEY, 3)
    signs = lambda key, like: jax.random.rademacher(key, like.shape, like.dtype)
    match name:
        case "reparam":
            return x @ (w + std * normal(KEY, w.shape))
        case "local_reparam":
            return x @ w + jnp.sqrt(x**2 @ std**2) * normal(KEY, (len(x), w.shape[1]))
        case "flipout":
            noise = std * normal(key_noise, w.shape)
            return x @ w + signs(keys[1], x @ w) * ((x * signs(keys[0], x)) @ noise)
        case "antithetic":
            noise = std * normal(KEY, w.shape)
            return jnp.concatenate([x[:1] @ (w + noise), x[1:] @ (w - noise)])
        case "per_example":
            noise = normal(KEY, (len(x), *w.shape))
            return jnp.stack([x[i] @ (w + std * noise[i]) for i in range(len(x))])


def of_estimator(name):
    def ours(x, w):
        return draw(jnp.matmul, x, Gaussian(w, w - 1, name), KEY)

    return ours, partial(plain_estimator, name), (2, 3), (3, 2)


# Each: our function of (x, w), the same in plain JAX, and the shapes of x and w.
OPERATIONS = {
    "conv": of_conv((1, 5, 4, 2), (3, 3, 2, 2)),
    "conv small map": of_conv((2, 2, 2, 5), (3, 3, 5, 2)),
    "conv strided": of_conv((1, 5, 7, 2), (3, 2, 2, 2), strides=(2, 3)),
    "conv dilated": of_conv((1, 5, 5, 2), (2, 2, 2, 2), rhs_dilation=(2, 1)),
    "conv grouped": of_conv((1, 5, 4, 4), (2, 2, 2, 2), feature_group_count=2),
    "conv 1-D": of_conv((2, 9, 2), (3, 2, 3), strides=(1,), numbers=NWC),
    "normalize batch": of_norm((0, 1, 2), (1, 1, 1, 2)),
    "normalize layer": of_norm((1, 2, 3), (1, 1, 1, 2)),
    "max_pool": (
        lambda x, w: ops.max_pool(x * w),
        lambda x, w: pooled(x * w),
        (1, 4, 4, 2),
        (1, 1, 1, 2),
    ),
    "normal": (
        lambda x, w: x * ops.normal(KEY, (3,)).astype(x.dtype) + w,
        lambda x, w: x * jax.random.normal(KEY, (3,), jnp.float32).astype(x.dtype) + w,
        (3,),
        (3,),
    ),
    "bernoulli": (
        lambda x, w: jnp.where(ops.bernoulli(KEY, 0.5, (6,)), x * w, w),
        lambda x, w: jnp.where(jax.random.bernoulli(KEY, 0.5, (6,)), x * w, w),
        (6,),
        (6,),
    ),
    **{name: of_estimator(name) for name in ESTIMATORS},
}


def loss(f):
    return lambda x, w: jnp.sin(3 * f(x, w)).sum()


def like(x, seed=0):
    """Some other array of its shape."""
    return 0.5 + jnp.cos(jnp.arange(x.size, dtype=x.dtype) + seed).reshape(x.shape)


def many(x, axis=0):
    return jnp.stack([like(x, i) for i in range(3)], axis)


def grad(f):
    return jax.grad(loss(f), (0, 1))


def tangents(*args):
    return tuple(like(a, 5) for a in args)


def transposed(f, x, w):
    """The transposes of the derivative by each argument."""
    out = like(f(x, w))
    by_x = jax.linear_transpose(lambda t: jax.jvp(lambda x: f(x, w), (x,), (t,))[1], x)
    by_w = jax.linear_transpose(lambda t: jax.jvp(lambda w: f(x, w), (w,), (t,))[1], w)
    return by_x(out), by_w(out)


def gauss_newton(f, x, w):
    """Jᵀ J times a vector."""
    y, push = jax.linearize(f, x, w)
    pull = jax.linear_transpose(push, x, w)
    return pull(push(*tangents(x, w)) * like(y))


def scan(f, x, w):
    """The gradient through a loop over different weights."""
    body = lambda total, w: (total + loss(f)(x, w), None)
    return jax.grad(lambda x, ws: lax.scan(body, jnp.zeros((), x.dtype), ws)[0], (0, 1))(x, many(w))


def while_loop(f, x, w):
    body = lambda state: (state[0] + 1, state[1] + loss(f)(x, w))
    return lax.while_loop(lambda state: state[0] < 2, body, (0, jnp.zeros((), x.dtype)))


def hessian(f, x, w):
    return jax.hessian(lambda w: loss(f)(x, w))(w)


def along(f):
    """The derivative along one direction in both arguments."""
    return lambda *args: jax.jvp(f, args, tangents(*args))[1]


def branches(f):
    return lambda x, w: lax.cond(x.sum() > 0, f, lambda x, w: 2 * f(x, w), x, w)


def third(f, x, w):
    return along(along(along(loss(f))))(x, w), jax.grad(along(along(loss(f))))(x, w)


def meta(f, x, w):
    """The gradient through a step of gradient descent."""
    step = lambda w: w - 0.1 * jax.grad(loss(f), 1)(x, w)
    return jax.grad(lambda w: loss(f)(x, step(w)))(w)


TRANSFORMATIONS = {
    "jit": lambda f, x, w: jax.jit(f)(x, w),
    "grad": lambda f, x, w: grad(f)(x, w),
    "value_and_grad": lambda f, x, w: jax.value_and_grad(loss(f), (0, 1))(x, w),
    "vmap": lambda f, x, w: jax.vmap(f)(many(x), many(w)),
    "vmap kernels": lambda f, x, w: jax.vmap(f, (None, 0))(x, many(w)),
    "vmap inputs": lambda f, x, w: jax.vmap(f, (0, None))(many(x), w),
    "vmap other axes": lambda f, x, w: jax.vmap(f, (-1, 1), 1)(many(x, -1), jnp.stack([w] * 3, 1)),
    "vmap twice": lambda f, x, w: jax.vmap(jax.vmap(f, (None, 0)), (0, None))(many(x), many(w)),
    "grad of vmap": lambda f, x, w: grad(jax.vmap(f))(many(x), many(w)),
    "grad of vmap kernels": lambda f, x, w: grad(jax.vmap(f, (None, 0)))(x, many(w)),
    "grad of vmap inputs": lambda f, x, w: grad(jax.vmap(f, (0, None)))(many(x), w),
    "vmap of grad": lambda f, x, w: jax.vmap(grad(f), (0, None))(many(x), w),
    "vmap of grad twice": lambda f, x, w: jax.vmap(jax.vmap(grad(f), (0, None)), (None, 0))(
        many(x), many(w)
    ),
    "jvp": lambda f, x, w: jax.jvp(f, (x, w), tangents(x, w)),
    "linearize": lambda f, x, w: jax.linearize(f, x, w)[1](*tangents(x, w)),
    "linear_transpose": transposed,
    "jacfwd": lambda f, x, w: jax.jacfwd(f, 1)(x, w),
    "jacrev": lambda f, x, w: jax.jacrev(f, (0, 1))(x, w),
    "hessian": hessian,
    "vmap of hessian": lambda f, x, w: jax.vmap(partial(hessian, f), (0, None))(many(x), w),
    "forward over reverse": lambda f, x, w: jax.jvp(grad(f), (x, w), tangents(x, w)),
    "reverse over forward": lambda f, x, w: grad(along(f))(x, w),
    "reverse over reverse": lambda f, x, w: jax.vjp(grad(f), x, w)[1](tangents(x, w)),
    "third derivative": third,
    "meta-learning": meta,
    "Gauss-Newton": gauss_newton,
    "checkpoint": lambda f, x, w: grad(jax.checkpoint(f))(x, w),
    "scan": scan,
    "while_loop": while_loop,
    "cond": lambda f, x, w: grad(branches(f))(x, w),
    "map": lambda f, x, w: lax.map(lambda x: grad(f)(x, w), many(x)),
}

# Of whole nets, whose programs are long: what the tests of `nn` do not show.
NORMS = ("batch", "frn", "group", "layer", "none")
OF_NETS = ("grad of vmap kernels", "linear_transpose", "reverse over reverse", "checkpoint", "scan")


def arrays(name, dtype=None):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in OPERATIONS[name][2:]]


def assert_equal(ours, theirs, tolerance):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, np.abs(b).max(initial=0)))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_equals_plain_jax(transformation, operation):
    transform = TRANSFORMATIONS[transformation]
    ours, theirs, *_ = OPERATIONS[operation]
    with jax.enable_x64(True):
        x, w = arrays(operation, jnp.float64)
        results = [jax.jit(partial(transform, f))(x, w) for f in (ours, theirs)]
    assert_equal(*results, 1e-10)


def of_net(norm):
    """A fractal net as a function of images and of all its weights, and that of plain convolutions.

    The norms themselves are operations of the table.
    """
    nets = [
        jf.FractalNet(2, columns=2, widths=(2,), norm=norm, conv=conv)
        for conv in (jf.nn.Conv, partial(nn.Conv, conv_general_dilated=lax.conv_general_dilated))
    ]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 2, 1)))
    variables = jax.tree.map(lambda a: a.astype(x.dtype), nets[0].init(KEY, x))
    w, unravel = ravel_pytree(variables["params"])

    def outputs(net, x, w):
        given = {**variables, "params": unravel(w)}
        options = {"train": True, "mutable": ["batch_stats"]}
        return net.apply(given, x, **options)[0]

    return *(partial(outputs, net) for net in nets), x, w


@pytest.mark.slow
@pytest.mark.parametrize("transformation", OF_NETS)
@pytest.mark.parametrize("norm", NORMS)
def test_whole_nets_equal_those_of_plain_convolutions(norm, transformation):
    with jax.enable_x64(True):
        ours, theirs, x, w = of_net(norm)
        transform = TRANSFORMATIONS[transformation]
        results = [jax.jit(partial(transform, f))(x, w) for f in (ours, theirs)]
    assert_equal(*results, 1e-8)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in ESTIMATORS])
def test_narrow_types(operation, dtype):
    """A result and its gradients have the type of the arguments, and its precision."""
    ours, theirs, *_ = OPERATIONS[operation]
    x, w = arrays(operation, dtype)
    results = jax.jit(ours)(x, w), *jax.jit(partial(jax.vjp, ours))(x, w)[1](like(ours(x, w)))
    assert {a.dtype for a in results} == {jnp.dtype(dtype)}
    wide = [a.astype(jnp.float32) for a in (x, w)]
    expected, pull_back = jax.vjp(theirs, *wide)
    expected = expected, *pull_back(like(ours(x, w)).astype(jnp.float32))
    as_float = [a.astype(jnp.float32) for a in results]
    assert_equal(as_float, list(expected), 20 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_leaks_and_nothing_is_nan(operation):
    ours, *_ = OPERATIONS[operation]
    x, w = arrays(operation)
    with jax.checking_leaks(), jax.debug_nans(True):
        jax.jit(grad(ours))(x, w)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_on_a_mesh_of_manual_axes(operation):
    """Gradients through `jax.shard_map` at its default, with shared weights and with sharded."""
    ours, theirs, *_ = OPERATIONS[operation]
    x, w = arrays(operation)
    mesh = Mesh(jax.devices()[:2], "data")
    xs, ws = (jnp.stack([a, like(a)]) for a in (x, w))

    def over(f, in_specs, *args):
        total = lambda x, w: lax.psum(loss(f)(x[0], w), "data")
        return jax.grad(jax.shard_map(total, mesh=mesh, in_specs=in_specs, out_specs=P()), (0, 1))(
            *args
        )

    shared = [jax.jit(partial(over, f, (P("data"), P())))(xs, w) for f in (ours, theirs)]
    assert_equal(*shared, 1e-5)
    own = lambda f: lambda x, w: f(x, w[0])
    both = [jax.jit(partial(over, own(f), (P("data"), P("data"))))(xs, ws) for f in (ours, theirs)]
    assert_equal(*both, 1e-5)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_over_sharded_arrays(operation):
    """A batch over the devices; see also `on_eight_devices`."""
    over_devices(operation, 2)


def over_devices(operation, num_devices):
    """The gradient of a vmap over copies that are spread over devices equals that on one."""
    ours, theirs, *_ = OPERATIONS[operation]
    x, w = arrays(operation)
    mesh = Mesh(jax.devices()[:num_devices], "data")
    xs = jnp.stack([like(x, i) for i in range(num_devices)])
    on = lambda a, *spec: jax.device_put(a, NamedSharding(mesh, P(*spec)))
    run = lambda f, *args: jax.jit(grad(jax.vmap(f, (0, None))))(*args)
    results = run(ours, on(xs, "data"), on(w))
    assert_equal(results, run(theirs, xs, w), 1e-5)
    if operation.startswith("conv") and operation != "conv grouped":
        assert results[0].sharding.is_equivalent_to(NamedSharding(mesh, P("data")), xs.ndim)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_exported_for_all_platforms(operation):
    """The gradient of a vmap, as one program for three platforms, run on this."""
    ours, *_ = OPERATIONS[operation]
    args = [many(a) for a in arrays(operation)]
    program = jax.jit(grad(jax.vmap(ours)))
    exported = export.export(program, platforms=("cpu", "cuda", "tpu"))(*args)
    assert_equal(jax.jit(exported.call)(*args), program(*args), 1e-5)


@pytest.mark.nan  # JAX donates nothing where it may have to repeat a step that made a NaN
@pytest.mark.parametrize("operation", OPERATIONS)
def test_ahead_of_time_with_donated_arguments(operation):
    ours, *_ = OPERATIONS[operation]
    x, w = arrays(operation)
    expected = ours(x, w)
    compiled = jax.jit(lambda x, w: (ours(x, w), 2 * w), donate_argnums=1).lower(x, w).compile()
    y, _ = compiled(x, w)
    assert_equal(y, expected, 1e-5)
    assert w.is_deleted()


@pytest.mark.slow
def test_over_eight_devices():
    command = [sys.executable, "-m", "tests.ops.on_eight_devices"]
    subprocess.run(command, check=True, env=os.environ | {"JAX_NUM_CPU_DEVICES": "8"})
