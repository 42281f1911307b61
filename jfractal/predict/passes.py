"""The passes of a prediction: over batches, over draws, over devices."""

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
from jfractal.arguments import check_key, check_type
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.forked import check_not_forked
from jfractal.identity import ByContent
from jfractal.inference.batch import count_inputs
from jfractal.out_of_memory import out_of_memory
from jfractal.posterior.posterior import Posterior, check_posterior
from jfractal.predict.gathering import Gathering
from jfractal.predict.plan import live_bytes, plan
from jfractal.predict.question import Question, Turn, turns
from jfractal.typing import Array, KeyArray

__all__ = ["run"]

LOWER = "lower `batch_size` or `samples_per_pass`, or predict with `keep_samples=False`"
DATA, SAMPLES = "data", "samples"  # axes of a mesh


@out_of_memory("a pass", LOWER)
def run(
    question: Question,
    gathering: Gathering,
    posterior: Posterior,
    x: Any,
    key: KeyArray,
    *,
    num_samples: int,
    batch_size: int | None,
    samples_per_pass: int | None,
    mesh: Mesh | None,
) -> Any:
    """The gathered answers to a question under draws of the weights; see `sample_outputs`."""
    check_not_forked()
    check_posterior(posterior)
    check_key("key", key)
    decided = {"batch_size": batch_size, "samples_per_pass": samples_per_pass}
    check_counts(
        num_samples=num_samples, **{name: n for name, n in decided.items() if n is not None}
    )
    num_examples = count_inputs(x)
    if mesh is not None:
        check_type("mesh", mesh, Mesh, "a `jax.sharding.Mesh`")
    if mesh is not None and not set(mesh.axis_names) <= {DATA, SAMPLES}:
        raise InputError(
            f"`mesh` must have no axes but `{DATA}` and `{SAMPLES}`, got {mesh.axis_names}"
        )
    num_parts, num_shares = (_length(mesh, axis) for axis in (DATA, SAMPLES))
    all_turns = turns(posterior, key, num_samples)
    one = jax.tree.map(lambda a: a[0], all_turns)
    asked = ByContent(question)
    sizes = plan(
        lambda size: live_bytes(asked, posterior, one, _like(x, size)),
        ceil(num_examples / num_parts),
        ceil(num_samples / num_shares),
        batch_size=None if batch_size is None else ceil(batch_size / num_parts),
        samples_per_pass=samples_per_pass,
    )
    # Draws that fill up the last passes are made again, and all of their kind count less.
    who = np.arange(sizes.samples_per_pass * sizes.num_passes * num_shares) % num_samples
    log_weights = jnp.asarray(-np.log(np.bincount(who)[who] * num_samples))
    all_turns = jax.tree.map(lambda a: a[who], all_turns)
    posterior, all_turns = _placed(posterior, mesh), _placed_turns(all_turns, mesh)
    log_weights = _placed(log_weights, mesh, SAMPLES)
    batches = [
        _pass(
            asked,
            gathering,
            posterior,
            _placed(batch, mesh, DATA),
            all_turns,
            log_weights,
            sizes.samples_per_pass,
            mesh,
        )
        for batch in _batches(x, num_examples, sizes.batch_size * num_parts)
    ]
    axis = gathering.batch_axis
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts, axis), *batches)
    return jax.tree.map(lambda a: jax.lax.slice_in_dim(a, 0, num_examples, axis=axis), whole)


@partial(ops.jit, static_argnums=(0, 1, 6, 7))
def _pass(
    asked: ByContent[Question],
    gathering: Gathering,
    posterior: Any,
    x: Any,
    all_turns: Turn,
    log_weights: Array,
    samples_per_pass: int,
    mesh: Mesh | None,
) -> Any:
    def on_device(posterior: Any, x: Any, turns: Turn, log_weights: Array) -> Any:
        answer = lambda turn: asked.value(posterior, turn, x)
        part = gathering.over_draws(answer, turns, log_weights, samples_per_pass)
        if mesh is not None and SAMPLES in mesh.axis_names:
            part = gathering.over_devices(part, log_weights, SAMPLES)
        if mesh is not None and DATA in mesh.axis_names:
            part = jax.lax.all_gather(part, DATA, axis=gathering.batch_axis, tiled=True)
        return part

    if mesh is None:
        return on_device(posterior, x, all_turns, log_weights)
    in_specs = P(), _spec(mesh, DATA), _spec(mesh, SAMPLES), _spec(mesh, SAMPLES)
    return jax.shard_map(on_device, mesh=mesh, in_specs=in_specs, out_specs=P(), check_vma=False)(
        posterior, x, all_turns, log_weights
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
    # Keys cannot be put on the devices of another process, but what they are made of can.
    data = _placed(jax.random.key_data(turns.key), mesh, SAMPLES)
    keys = jax.random.wrap_key_data(data, impl=jax.random.key_impl(turns.key))
    return Turn(keys, _placed(turns.point, mesh, SAMPLES))


def _like(x: Any, size: int) -> Any:
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((size, *a.shape[1:]), jax.typeof(a[:1]).dtype), x
    )


def _batches(x: Any, num_examples: int, size: int) -> Iterator[Any]:
    """Batches of equal size: the last is filled up with its last example."""

    def cut(a: Any, start: int) -> Any:
        part = a[start : start + size]
        return part if len(part) == size else part[np.minimum(np.arange(size), len(part) - 1)]

    for start in range(0, num_examples, size):
        yield jax.tree.map(lambda a, start=start: cut(a, start), x)
