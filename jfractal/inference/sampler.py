"""Drives a kernel of NumPyro: chains in one program, draws kept as they come, resumable."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import errors
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec
from numpyro.infer import HMC
from tqdm import tqdm

from jfractal import ops
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.chains import Chains
from jfractal.inference.draw_store import DrawStore
from jfractal.inference.log_joint import LogJoint
from jfractal.typing import KeyArray, Params, Scalar

__all__ = ["Device", "LogDensity", "Plan", "Precision", "run"]

LogDensity = Callable[[Params], Scalar]
Precision = Literal["float32", "float64"]
Device: TypeAlias = Any
"""A `jax.Device`."""

MAX_ROWS, MAX_BYTES = 64, 2**26  # of draws that a program holds before they are kept
FAST, SLOW = 2.0, 8.0  # seconds between two looks at the chains


@dataclass(frozen=True)
class Plan:
    """How many chains run for how long, where, and what is kept of them; see `nuts`."""

    num_chains: int
    num_warmup: int
    num_samples: int
    thinning: int
    precision: Precision
    directory: str | Path | None
    devices: Sequence[Device] | None
    progress_bar: bool

    def __post_init__(self):
        check_counts(num_chains=self.num_chains, num_warmup=self.num_warmup, thinning=self.thinning)
        check_counts(4, num_samples=self.num_samples)
        if self.precision not in get_args(Precision):
            raise InputError(
                f"`precision` must be one of {get_args(Precision)}, got {self.precision!r}"
            )
        if self.devices is not None and (not self.devices or self.num_chains % len(self.devices)):
            raise InputError(
                f"`num_chains` must be a multiple of the number of `devices`, got "
                f"{self.num_chains} and {len(self.devices)}"
            )


def run(
    kernel: Callable[..., HMC],
    log_joint: LogDensity,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    plan: Plan,
    *,
    inverse_mass: Params | None,
) -> Chains:
    """Runs the chains of a kernel, or what is left of them.

    Args:
        kernel: Makes a kernel of NumPyro, given ``potential_fn`` and ``inverse_mass_matrix``.
        log_joint: What to sample, see `nuts`.
        init: Draws the start of a chain.
        key: Random key.
        plan: The rest.
        inverse_mass: A variance for every weight, from which the mass matrix starts.
    """
    key_init, key_run = jax.random.split(key)
    starts = jax.vmap(init)(jax.random.split(key_init, plan.num_chains))
    template = jax.tree.map(lambda w: w[0], starts)
    # What starts in the usual precision is the same start in both.
    double = plan.precision == "float64"
    with jax.enable_x64(True) if double else contextlib.nullcontext():
        starts = _cast(starts, plan.precision)
        at_start = _start_values(log_joint, starts)
        if isinstance(log_joint, LogJoint) and log_joint.num_data > 1:
            _check_examples(log_joint, jax.tree.map(lambda w: w[0], starts))
        masses = None
        if inverse_mass is not None:
            masses = ravel_pytree(_cast(_variances(inverse_mass, template), plan.precision))[0]
        sampler = kernel(potential_fn=lambda w: -log_joint(w), inverse_mass_matrix=masses)
        state = sampler.init(jax.random.split(key_run, plan.num_chains), plan.num_warmup, starts)
        about = {
            "kernel": repr(kernel),
            "key": jax.random.key_data(key).tolist(),
            "plan": [plan.num_chains, plan.num_warmup, plan.num_samples, plan.thinning],
            "precision": plan.precision,
            "inverse_mass": None if masses is None else float(masses.sum()),
        }
        store = DrawStore.open(
            plan.directory,
            shape=(plan.num_samples, plan.num_chains, ravel_pytree(template)[0].size),
            about=about,
            at_start=at_start,
        )
        _fill(store, sampler, state, plan)
    return _chains(store, template)


def _cast(tree: Params, dtype: Precision) -> Params:
    return jax.tree.map(lambda w: jnp.asarray(w, dtype), tree)


def _start_values(log_joint: LogDensity, starts: Params) -> np.ndarray:
    """The log joint where the chains start; what can be told to be wrong with it is."""
    try:
        values = np.asarray(jax.lax.map(log_joint, starts))
    except InputError:
        raise
    except errors.InvalidRngError as error:
        raise InputError(
            "`log_joint` draws random numbers, but Markov chains need a deterministic one: apply "
            f"the net without dropout and drop-path, e.g. with train=False ({_first_line(error)})"
        ) from error
    except (
        KeyError,
        errors.ModifyScopeVariableError,
        errors.ScopeCollectionNotFound,
        errors.ScopeVariableNotFoundError,
    ) as error:
        raise InputError(
            "`log_joint` needs more than weights: batch statistics depend on which examples are "
            "seen together and have no place in a posterior over weights; use a norm without "
            f"them, such as 'frn', 'group' or 'layer' ({_first_line(error)})"
        ) from error
    except (errors.FlaxError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            "`log_joint` cannot be evaluated where the chains start; do the shapes of the data "
            f"fit the net? ({_first_line(error)})"
        ) from error
    if values.ndim != 1:
        raise InputError(f"`log_joint` must return a scalar, got shape {values.shape[1:]}")
    if not np.isfinite(values).all():
        raise InputError(
            f"`log_joint` must be finite where the chains start, got {values}; "
            "start closer to the prior's centre, or look for a division by zero in the model"
        )
    return values


def _check_examples(log_joint: LogJoint, params: Params) -> None:
    """Refuses likelihoods that go by the batch: the last examples must have theirs by themselves.

    Not the first, whose dropout masks are the same, if the key is.
    """
    where = slice(log_joint.num_data // 2, None)
    last = jax.tree.map(lambda x: x[where], log_joint.data)
    together, alone = jax.jit(
        lambda w: (
            log_joint.log_likelihood(w, log_joint.data)[where],
            log_joint.log_likelihood(w, last),
        )
    )(params)
    if not np.allclose(together, alone, rtol=1e-2, atol=1e-2):
        raise InputError(
            "`log_joint` must not depend on which examples are seen together, as it does with "
            "batch norm in training mode, or with dropout by a key that is always the same: use a "
            "norm without batch statistics, such as 'frn', 'group' or 'layer', and train=False"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _variances(inverse_mass: Params, template: Params) -> Params:
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    if shapes(inverse_mass) != shapes(template):
        raise InputError(
            "`inverse_mass` must be a tree of variances of the same structure and shapes as the "
            f"weights {shapes(template)}, got {shapes(inverse_mass)}"
        )
    if not all(bool((jnp.isfinite(v) & (v > 0)).all()) for v in jax.tree.leaves(inverse_mass)):
        raise InputError("`inverse_mass` must hold finite variances above 0")
    return inverse_mass


def _fill(store: DrawStore, sampler: HMC, state: Any, plan: Plan) -> None:
    """Runs the chains from where the store has them to the end."""
    state = store.restore(state)
    num_rows = max(1, min(MAX_ROWS, MAX_BYTES // store.bytes_per_draw))
    advance = partial(_advance, sampler, num_rows)
    if plan.devices is not None:
        by_chain = PartitionSpec("chains")
        advance = jax.shard_map(
            advance,
            mesh=Mesh(np.array(plan.devices), ("chains",)),
            in_specs=(by_chain, PartitionSpec(), PartitionSpec()),
            out_specs=(by_chain, PartitionSpec(None, "chains")),
            check_vma=False,
        )
    advance = ops.jit(advance)
    total, pace = plan.num_warmup + plan.num_samples, 1
    bar = tqdm(total=total, initial=store.count, disable=not plan.progress_bar, unit=" draws")
    with bar:
        while store.count < total:
            warming = store.count < plan.num_warmup
            left = (plan.num_warmup if warming else total) - store.count
            num = min(pace, left, num_rows)
            started = time.perf_counter()
            state, rows = advance(state, num, 1 if warming else plan.thinning)
            rows = jax.tree.map(lambda x, num=num: np.asarray(x)[:num], rows)
            seconds = time.perf_counter() - started
            pace = num * 2 if seconds < FAST else max(num // 2, 1) if seconds > SLOW else num
            store.keep(rows, state, warming=warming)
            bar.update(num)
            bar.set_postfix(
                phase="warm-up" if warming else "sampling",
                accept=f"{rows['accept_prob'].mean():.2f}",
                gradients=int(rows["num_gradients"].mean()),
            )


def _advance(sampler: HMC, num_rows: int, state: Any, num: Any, thinning: Any) -> tuple[Any, Any]:
    """The chains `num` draws later, and these draws, in the first of `num_rows` rows."""

    def step(_, carry):
        state, gradients, divergences = carry
        state = sampler.sample(state, (), {})
        return state, gradients + state.num_steps, divergences + state.diverging

    def draw(state):
        none = jnp.zeros_like(state.num_steps)
        state, gradients, divergences = jax.lax.fori_loop(0, thinning, step, (state, none, none))
        return state, {
            # A draw is kept in single precision, whatever the chain moves in.
            "weights": jax.vmap(lambda z: ravel_pytree(z)[0])(state.z).astype(jnp.float32),
            "log_joint": -state.potential_energy,
            "energy": state.energy,
            "accept_prob": state.accept_prob,
            "num_gradients": gradients,
            "divergences": divergences,
        }

    def keep(i, carry):
        state, rows = carry
        state, row = draw(state)
        return state, jax.tree.map(lambda rows, row: rows.at[i].set(row), rows, row)

    _, row = jax.eval_shape(draw, state)
    rows = jax.tree.map(lambda x: jnp.zeros((num_rows, *x.shape), x.dtype), row)
    return jax.lax.fori_loop(0, num, keep, (state, rows))


def _chains(store: DrawStore, template: Params) -> Chains:
    """The draws as trees of weights; those on disk stay there until they are used."""
    leaves, structure = jax.tree.flatten(template)
    ends = np.cumsum([w.size for w in leaves])
    draws = np.swapaxes(store.draws, 0, 1)
    params = [
        draws[..., end - w.size : end].reshape(*draws.shape[:2], *w.shape)
        for w, end in zip(leaves, ends, strict=True)
    ]
    if store.directory is None:
        params = [jnp.asarray(x, w.dtype) for x, w in zip(params, leaves, strict=True)]
    statistics = {name: value.T for name, value in store.statistics.items()}
    return Chains(jax.tree.unflatten(structure, params), statistics, store.warmup_gradients)
