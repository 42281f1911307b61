"""Runs kernels: all chains in one program, draws stored as they are made, resumable."""

import contextlib
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jfractal import ops
from jfractal.arguments import check_key, naming
from jfractal.forked import check_not_forked
from jfractal.identity import ByContent
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.mass import check_mass, check_variances
from jfractal.inference.mcmc.chains import Chains
from jfractal.inference.mcmc.checks import check_starts, check_target
from jfractal.inference.mcmc.draw_store import DrawStore
from jfractal.inference.mcmc.kernel import COUNTS, Kernel
from jfractal.inference.mcmc.parts import Parts
from jfractal.inference.mcmc.plan import Plan, Precision
from jfractal.inference.mcmc.starts import starting_points
from jfractal.inference.mcmc.target import Target, chunk_size
from jfractal.inference.method import check_model
from jfractal.inference.model import Model
from jfractal.lock import Lock
from jfractal.out_of_memory import out_of_memory
from jfractal.progress import Progress
from jfractal.typing import KeyArray, Params, Variables

__all__ = ["run"]

MAX_ROWS, MAX_BYTES = 64, 2**26  # of draws that a program holds before they are kept
FAST, SLOW = 2.0, 8.0  # seconds between two looks at the chains


@dataclass(frozen=True)
class Program:
    """What determines the compiled program, besides the shapes of its arguments."""

    kernel: Kernel
    target: Target
    num_rows: int
    mesh: Mesh | None


@out_of_memory(
    "a step of the chains",
    "lower `batch_size` or `num_chains`, sample fewer weights by `where`, keep the draws in a "
    "`directory`, or spread the chains over `devices`",
)
def run(kernel: Kernel, model: Model, data: Batch, key: KeyArray, plan: Plan) -> Chains:
    """Runs the chains of a kernel, or the rest of a run that was cut off.

    Args:
        kernel: The transitions, including warm-up.
        model: The model to sample.
        data: Inputs and targets, ``(x, y)``.
        key: Random key.
        plan: All other arguments.
    """
    check_not_forked()
    check_model(model)
    check_key("key", key)
    with naming("data"):
        batch_size(data)
    key_init, key_run = jax.random.split(key)
    variables, parts = starting_points(plan.starts, key_init, plan.num_chains, plan.where)
    with naming("data"):
        check_target(model, jax.tree.map(lambda x: x[0], variables), data, plan.batch_size)
    inverse_mass = _inverse_mass(plan.inverse_mass, variables, parts)
    data = jax.tree.map(jnp.asarray, data)
    # What starts in the usual precision is the same start in both.
    double = plan.precision == "float64"
    with jax.enable_x64(True) if double else contextlib.nullcontext():
        cast = partial(_cast, dtype=plan.precision)
        moving, still = map(cast, parts.split(variables))
        program = _program(kernel, model, parts, plan, (moving, still, data))
        keys = jax.random.split(key_run, plan.num_chains)
        masses = None if inverse_mass is None else ravel_pytree(cast(inverse_mass))[0]
        state, at_start = _begin(ByContent(program), keys, moving, still, data, masses)
        at_start = np.asarray(at_start)
        check_starts(at_start)
        about = {
            "kernel": repr(kernel),
            "key": jax.random.key_data(key).tolist(),
            "plan": [plan.num_chains, plan.num_warmup, plan.num_draws, plan.thinning],
            "precision": plan.precision,
            "temperature": plan.temperature,
            "inverse_mass": None if masses is None else float(masses.sum()),
        }
        with contextlib.nullcontext() if plan.directory is None else Lock(plan.directory):
            store = DrawStore.open(
                plan.directory,
                shape=(plan.num_draws, plan.num_chains, sum(x[0].size for x in moving)),
                statistics=kernel.statistics,
                about=about,
                at_start=at_start,
            )
            _fill(store, program, state, still, data, plan)
    return _chains(store, variables, parts)


def _cast(leaves: Any, dtype: Precision) -> Any:
    is_real = lambda x: jnp.issubdtype(jnp.result_type(x), jnp.floating)
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if is_real(x) else x, leaves)


def _inverse_mass(given: Params | None, variables: Variables, parts: Parts) -> Any:
    """The inverse mass of the weights that move."""
    if given is None:
        return None
    check_mass(given, jax.tree.map(lambda x: jnp.shape(x)[1:], variables["params"]))
    masses, _ = parts.split({**variables, "params": given})
    check_variances(masses)
    return masses


def _program(
    kernel: Kernel, model: Model, parts: Parts, plan: Plan, arguments: tuple[Any, Any, Batch]
) -> Program:
    moving, still, data = arguments
    mesh = None if plan.devices is None else Mesh(np.array(plan.devices), ("chains",))
    target = Target(model, parts, float(plan.temperature), batch_size(data))
    chunk = plan.batch_size
    if chunk is None:
        on_a_device = plan.num_chains // (1 if plan.devices is None else len(plan.devices))
        moving, still = jax.tree.map(lambda x: x[:on_a_device], (moving, still))
        chunk = chunk_size(target, moving, still, data)
    size = sum(x[0].size for x in moving)
    num_rows = MAX_BYTES // max(1, 4 * size * plan.num_chains)
    target = Target(model, parts, target.temperature, min(chunk, target.chunk))
    return Program(kernel, target, max(1, min(MAX_ROWS, num_rows)), mesh)


@partial(ops.jit, static_argnums=0)
def _begin(
    program: ByContent[Program], keys: Any, moving: Any, still: Any, data: Batch, inverse_mass: Any
) -> tuple[Any, Any]:
    """The chains at their start, and the log joint there."""
    kernel, target = program.value.kernel, program.value.target

    def one(key, moving, still):
        log_joint = lambda w: target.log_joint(w, still, data)
        return kernel.init(log_joint, key, moving, inverse_mass), log_joint(moving)

    return jax.vmap(one)(keys, moving, still)


@partial(ops.jit, static_argnums=0)
def _advance(
    program: ByContent[Program], state: Any, still: Any, data: Batch, num: Any, thinning: Any
) -> tuple[Any, Any]:
    """The chains `num` draws later, and these draws, in the first rows."""
    advance = partial(_rows, program.value)
    if program.value.mesh is not None:
        by_chain = P("chains")
        advance = jax.shard_map(
            advance,
            mesh=program.value.mesh,
            in_specs=(by_chain, by_chain, P(), P(), P()),
            out_specs=(by_chain, P(None, "chains")),
            check_vma=False,
        )
    return advance(state, still, data, num, thinning)


def _rows(
    program: Program, state: Any, still: Any, data: Batch, num: Any, thinning: Any
) -> tuple[Any, Any]:
    kernel, target = program.kernel, program.target

    def one(state, still):
        return kernel.step(lambda w: target.log_joint(w, still, data), state)

    def weights(state):
        # A draw is kept in single precision, whatever the chain moves in.
        return ravel_pytree(kernel.position(state))[0].astype(jnp.float32)

    def step(_, carry):
        state, before = carry
        state, row = jax.vmap(one)(state, still)
        return state, row | {name: row[name] + before[name] for name in COUNTS}

    def keep(i, carry):
        state, rows = carry
        state, row = jax.lax.fori_loop(0, thinning, step, (state, nothing))
        row = {"weights": jax.vmap(weights)(state), **row}
        return state, jax.tree.map(lambda rows, row: rows.at[i].set(row), rows, row)

    _, row = jax.eval_shape(jax.vmap(one), state, still)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), row)
    row = {"weights": jax.eval_shape(jax.vmap(weights), state), **row}
    rows = jax.tree.map(lambda x: jnp.zeros((program.num_rows, *x.shape), x.dtype), row)
    return jax.lax.fori_loop(0, num, keep, (state, rows))


def _fill(
    store: DrawStore, program: Program, state: Any, still: Any, data: Batch, plan: Plan
) -> None:
    """Runs the chains from the state in the store to the end."""
    state = store.restore(state)
    if program.mesh is not None:
        by_chain, everywhere = (NamedSharding(program.mesh, spec) for spec in (P("chains"), P()))
        state, still = jax.device_put((state, still), by_chain)
        data = jax.device_put(data, everywhere)
    advance = partial(_advance, ByContent(program))
    total, pace = plan.num_warmup + plan.num_draws, 1
    steps = lambda count: count + (plan.thinning - 1) * max(count - plan.num_warmup, 0)
    progress = Progress("chains", visible=plan.progress)
    with contextlib.closing(progress):
        progress.start(steps(store.count), steps(total))
        if store.count < total:
            with progress.phase("compiling", "compiled"):
                jax.block_until_ready(advance(state, still, data, 0, plan.thinning))
        while store.count < total:
            warming = store.count < plan.num_warmup
            left = (plan.num_warmup if warming else total) - store.count
            num = min(pace, left, program.num_rows)
            started = time.perf_counter()
            state, rows = advance(state, still, data, num, 1 if warming else plan.thinning)
            rows = jax.tree.map(lambda x, num=num: np.asarray(x)[:num], rows)
            seconds = time.perf_counter() - started
            pace = num * 2 if seconds < FAST else max(num // 2, 1) if seconds > SLOW else num
            store.keep(rows, state, warming=warming)
            figures = {
                "phase": "warm-up" if warming else "sampling",
                "log_joint": float(rows["log_joint"][-1].mean()),
                "gradients": f"{rows['num_gradients'].mean():.0f}",
            }
            progress.update(steps(store.count), figures)


def _chains(store: DrawStore, variables: Variables, parts: Parts) -> Chains:
    """The draws as variables; those on disk stay there until they are used."""
    moving, still = parts.split(variables)
    ends = np.cumsum([w[0].size for w in moving])
    flat = np.swapaxes(store.draws, 0, 1)
    leaves = [
        flat[..., end - w[0].size : end].reshape(*flat.shape[:2], *w.shape[1:])
        for w, end in zip(moving, ends, strict=True)
    ]
    if store.directory is None:
        leaves = [jnp.asarray(x, w.dtype) for x, w in zip(leaves, moving, strict=True)]
    statistics = {name: value.T for name, value in store.statistics.items()}
    draws: Any = leaves, [np.asarray(x)[:, None] for x in still]
    return Chains(parts.joined(*draws), statistics, store.warmup_gradients)
