"""Placement of the arrays of a fit: on one device, or on a mesh, with one or several processes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jfractal.errors import InputError
from jfractal.inference.ensemble import PerMember
from jfractal.inference.method import Method

__all__ = ["batch_spec", "check_mesh", "gathered", "placed", "state_spec"]

DATA, MEMBERS = "data", "members"  # axes of a mesh


def check_mesh(mesh: Mesh | None, method: Method) -> None:
    """Refuses a mesh that a method cannot be spread over.

    Raises:
        InputError: If `mesh` has axes other than ``data`` and ``members``, has no device of this
            process, or its axis ``members`` does not divide the members of the method.
    """
    if mesh is None:
        return
    if not set(mesh.axis_names) <= {DATA, MEMBERS}:
        raise InputError(
            f"`mesh` must have no axes but `{DATA}` and `{MEMBERS}`, got {mesh.axis_names}"
        )
    if not mesh.local_devices:
        raise InputError(
            f"`mesh` must have a device of every process, got none of process {jax.process_index()}"
        )
    if MEMBERS in mesh.axis_names and (method.num_members or 1) % mesh.shape[MEMBERS]:
        raise InputError(
            f"the axis `{MEMBERS}` of `mesh` must divide the members of an ensemble, got "
            f"{mesh.shape[MEMBERS]} devices for {method.name}"
        )


def state_spec(mesh: Mesh, method: Method) -> P:
    """Sharding of the state over a mesh: replicated, or split by the members of an ensemble."""
    return P(MEMBERS) if MEMBERS in mesh.axis_names and method.num_members is not None else P()


def batch_spec(mesh: Mesh, batch: Any) -> P:
    """Sharding of a batch: split by examples, and by members if each has its own batch.

    Raises:
        InputError: If the batch cannot be split into equal parts.
    """
    axes = (MEMBERS, DATA) if isinstance(batch, PerMember) else (DATA,)
    size = jax.tree.leaves(batch)[0].shape[len(axes) - 1]
    if DATA in mesh.axis_names and size % mesh.shape[DATA]:
        raise InputError(
            f"the axis `{DATA}` of `mesh` must divide the examples of a step, got "
            f"{mesh.shape[DATA]} devices for {size} examples"
        )
    return P(*(axis if axis in mesh.axis_names else None for axis in axes))


def placed(tree: Any, mesh: Mesh | None, spec: P | None = None) -> Any:
    """A tree of arrays on the devices of a mesh, or where JAX puts arrays by default.

    By default, every device gets the whole tree; `spec` splits it.

    If there are several processes, all must call with equal arrays; nothing is sent between them.
    """
    if mesh is None:
        return jax.device_put(tree)
    sharding = NamedSharding(mesh, spec or P())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: _cut(x, sharding), tree)


def _cut(x: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _cut(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    x = np.asarray(x, jax.dtypes.canonicalize_dtype(np.asarray(x).dtype))
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def gathered(tree: Any, mesh: Mesh | None) -> Any:
    """The tree replicated on every device, so that every process can read it."""
    if mesh is None or jax.process_count() == 1:
        return tree
    return jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, P()))(tree)
