"""What a model answers under draws of its weights."""

from collections.abc import Iterator
from functools import partial
from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jfractal import ops
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.posterior.posterior import Posterior, check_posterior
from jfractal.predict.plan import live_bytes, plan
from jfractal.typing import Apply, Array, Float, KeyArray

__all__ = ["sample_outputs"]

DATA, SAMPLES = "data", "samples"  # axes of a mesh

Turn = tuple[Array | None, Array]  # where to draw from a posterior of many members, and a key


def sample_outputs(
    apply: Apply,
    posterior: Posterior,
    x: Any,
    key: KeyArray,
    *,
    num_samples: int = 32,
    batch_size: int | None = None,
    samples_per_pass: int | None = None,
    mesh: Mesh | None = None,
) -> Float[Array, "samples batch *event"]:
    """The outputs of a model under draws of its weights, ``apply(w_s, x)`` with ``w_s ~ p(w | D)``.

    Draw s is one network for all of `x`, whatever the batches and devices. Within a pass draws are
    vmapped; memory grows with `samples_per_pass` and `batch_size`, and with `num_samples` only by
    the outputs. Time grows linearly in both `num_samples` and the length of `x`.

    Members of an ensemble, or stored draws, are taken at even distances (systematic sampling): each
    equally often as far as possible, and each exactly once if there are `num_samples` of them.

    Args:
        apply: ``apply(variables, x) -> outputs``. Keep the same object between calls, e.g.
            ``net.apply``, and it is compiled once.
        posterior: A pytree with ``sample(key) -> variables``: `MeanField`, `Point`, `Samples`, …;
            one of M members has ``sample_at(u, key)``, a draw of member ⌊u·M⌋ for u in [0, 1).
        x: Inputs with a leading batch axis, at least one.
        key: Random key.
        num_samples: Number of draws, at least 1.
        batch_size: Examples in a pass, on all devices together; as many as memory allows if left
            out, see `ops.memory_budget`. A last batch that is not full is padded, so that nothing
            is compiled twice.
        samples_per_pass: The most draws to vmap in a pass, on each device; as many as are faster
            together than in turn if left out, see `ops.side_by_side_budget`.
        mesh: Devices to work side by side, with axes ``data`` (each takes a part of a batch) or
            ``samples`` (each takes a part of the draws) or both; where JAX puts arrays by
            default if left out. With more than one process, all of them call with equal
            arguments and receive equal outputs.

    Returns:
        Outputs, "samples batch *event".

    Raises:
        InputError: If a number is smaller than 1 or no integer, `x` is empty, `mesh` has other
            axes, or `posterior` cannot be drawn from.
    """
    check_posterior(posterior)
    sizes = {"batch_size": batch_size, "samples_per_pass": samples_per_pass}
    given = {name: size for name, size in sizes.items() if size is not None}
    check_counts(num_samples=num_samples, **given)
    if len(x) < 1:
        raise InputError("`x` must hold at least 1 example, got none")
    if mesh is not None and not set(mesh.axis_names) <= {DATA, SAMPLES}:
        raise InputError(
            f"`mesh` must have no axes but `{DATA}` and `{SAMPLES}`, got {mesh.axis_names}"
        )
    num_parts, num_shares = (_length(mesh, axis) for axis in (DATA, SAMPLES))
    turns = _points(posterior, key, num_samples), jax.random.split(key, num_samples)
    one = jax.tree.map(lambda a: a[0], turns)
    sizes = plan(
        lambda size: live_bytes(_output, apply, posterior, one, _like(x, size)),
        ceil(len(x) / num_parts),
        ceil(num_samples / num_shares),
        batch_size=None if batch_size is None else ceil(batch_size / num_parts),
        samples_per_pass=samples_per_pass,
    )
    total = sizes.samples_per_pass * sizes.num_passes * num_shares
    turns = jax.tree.map(lambda a: a[np.arange(total) % num_samples], turns)
    posterior, turns = _placed(posterior, mesh), _placed_turns(turns, mesh)
    outputs = [
        _pass(apply, posterior, _placed(batch, mesh, DATA), turns, sizes.samples_per_pass, mesh)
        for batch in _padded_batches(x, sizes.batch_size * num_parts)
    ]
    return jnp.concatenate(outputs, axis=1)[:num_samples, : len(x)]


def _points(
    posterior: Posterior, key: KeyArray, num_samples: int
) -> Float[Array, " samples"] | None:
    """Where to draw from a posterior of many members, ``(s + U) / S`` with one uniform U."""
    if not hasattr(posterior, "sample_at"):
        return None
    # Away from the ends, lest rounding takes a point into its neighbour's interval.
    margin = min(2 * num_samples * float(jnp.finfo(jnp.float32).eps), 0.5)
    key_offset = jax.random.fold_in(key, num_samples)  # `split` gives other keys
    offset = jax.random.uniform(key_offset, minval=margin, maxval=1 - margin)
    return (jnp.arange(num_samples) + offset) / num_samples


def _output(apply: Apply, posterior: Any, turn: Turn, x: Array) -> Array:
    """Under one draw."""
    point, key = turn
    draw = posterior.sample(key) if point is None else posterior.sample_at(point, key)
    return apply(draw, x)


@partial(ops.jit, static_argnums=(0, 4, 5))
def _pass(
    apply: Apply, posterior: Any, x: Array, turns: Turn, samples_per_pass: int, mesh: Mesh | None
) -> Array:
    def outputs(posterior: Any, x: Array, turns: Turn) -> Array:
        one = partial(_output, apply, posterior)
        return jax.lax.map(lambda turn: one(turn, x), turns, batch_size=samples_per_pass)

    if mesh is None:
        return outputs(posterior, x, turns)

    def gathered(posterior: Any, x: Array, turns: Turn) -> Array:
        part = outputs(posterior, x, turns)
        for axis, name in enumerate((SAMPLES, DATA)):
            if name in mesh.axis_names:
                part = jax.lax.all_gather(part, name, axis=axis, tiled=True)
        return part

    in_specs = P(), _spec(mesh, DATA), _spec(mesh, SAMPLES)
    return jax.shard_map(gathered, mesh=mesh, in_specs=in_specs, out_specs=P(), check_vma=False)(
        posterior, x, turns
    )


def _length(mesh: Mesh | None, axis: str) -> int:
    return 1 if mesh is None else mesh.shape.get(axis, 1)


def _spec(mesh: Mesh, axis: str) -> P:
    return P(axis) if axis in mesh.axis_names else P()


def _placed(tree: Any, mesh: Mesh | None, axis: str = "") -> Any:
    """Arrays on the devices of a mesh, cut along their first axis if the mesh has such an axis."""
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, _spec(mesh, axis)))


def _placed_turns(turns: Turn, mesh: Mesh | None) -> Turn:
    if mesh is None:
        return turns
    points, keys = turns
    # Keys cannot be put on the devices of another process, but what they are made of can.
    data = _placed(jax.random.key_data(keys), mesh, SAMPLES)
    keys = jax.random.wrap_key_data(data, impl=jax.random.key_impl(keys))
    return _placed(points, mesh, SAMPLES), keys


def _like(x: Any, size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((size, *x.shape[1:]), jax.typeof(x[:1]).dtype)


def _padded_batches(x: Any, batch_size: int) -> Iterator[Any]:
    for start in range(0, len(x), batch_size):
        batch = x[start : start + batch_size]
        missing = batch_size - len(batch)
        if missing:
            last = np.broadcast_to(batch[-1:], (missing, *batch.shape[1:]))
            batch = np.concatenate([batch, last])
        yield batch
