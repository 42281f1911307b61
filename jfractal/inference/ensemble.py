"""Deep ensembles: the same method from many starts, side by side in one program."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jfractal.arguments import check_key, naming
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.method import Info, Method, Start
from jfractal.posterior.samples import Ensemble
from jfractal.typing import KeyArray, Variables

__all__ = ["PerMember", "ensemble"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PerMember:
    """Batches of the members of an ensemble.

    Attributes:
        batches: Inputs and targets, ``(x, y)``, with a leading axis of members.
    """

    batches: Any


def ensemble(method: Method, num_members: int) -> Method:
    """``p(w | D) ≈ mean_m q_m(w)``: members that differ in their start and in their batches.

    Of `maximum_a_posteriori` a deep ensemble, of `variational` or `swag` a mixture of Gaussians, of
    `sgld` or `sghmc` several chains. Members are vmapped: each step is one program for all of them,
    and needs the memory of all of them. Where each step draws a route through a fractal net, they
    run in turn, so that no member pays for routes that others take.

    Give `fit` a function of a random key, so that every member has a start of its own:
    ``jf.fit(method, lambda key: net.init(key, x)["params"], data, key, ...)``. From one tree all
    members start alike and differ by their batches only. From an `Ensemble` of as many members,
    each starts from one of them: so chains go on from trained nets. `fit` draws batches for every
    member; in a loop of your own, `update` takes one batch for all, or `PerMember` batches.

    Args:
        method: What to fit many times.
        num_members: Number of members, at least 1.

    Returns:
        A `Method` whose posterior is an `Ensemble` and whose figures have an axis of members.

    Raises:
        InputError: If `num_members` is smaller than 1, or `method` is not a method of one member.

    Example:
        ::

            method = jf.ensemble(jf.maximum_a_posteriori(model, optax.adam(1e-3)), 5)

    References:
        Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep
        ensembles", NeurIPS 2017; Wilson & Izmailov, "Bayesian deep learning and a probabilistic
        perspective of generalization", NeurIPS 2020, §3 (mixtures).
    """
    check_counts(num_members=num_members)
    if not isinstance(method, Method) or method.num_members is not None:
        raise InputError(
            "`method` must be a method of one member, such as `maximum_a_posteriori(model, "
            f"optimizer)`, got {getattr(method, 'name', method)!r}"
        )

    def init(params: Start | Ensemble, key: KeyArray) -> Any:
        check_key("key", key)
        keys = jax.random.split(key, num_members)
        if isinstance(params, Ensemble):
            return jax.vmap(method.init)(_members(params, keys), keys)
        return jax.vmap(lambda key: method.init(params, key))(keys)

    def update(
        state: Any, batch: Batch | PerMember, key: KeyArray, num_data: int | None = None
    ) -> tuple[Any, Info]:
        check_key("key", key)
        keys = jax.random.split(key, num_members)
        own = isinstance(batch, PerMember)
        batches = _of_members(batch.batches, num_members) if own else batch

        def one(state: Any, key: KeyArray, batch: Batch) -> tuple[Any, Info]:
            return method.update(state, batch, key, num_data)

        if not method.model.draws_routes:
            return jax.vmap(one, in_axes=(0, 0, 0 if own else None))(state, keys, batches)
        if own:
            return jax.lax.map(lambda turn: one(*turn), (state, keys, batches))
        return jax.lax.map(lambda turn: one(turn[0], turn[1], batches), (state, keys))

    def posterior(state: Any) -> Ensemble:
        return Ensemble(jax.vmap(method.posterior)(state))

    name = f"ensemble of {num_members}, {method.name}"
    references = ("lakshminarayanan2017", *method.references)
    return Method(name, method.model, init, update, posterior, references, num_members)


def _members(trained: Ensemble, keys: KeyArray) -> Variables:
    """Variables of every member, a draw of it where it is a distribution."""
    if len(trained) != len(keys):
        raise InputError(
            f"`params` must have as many members as `num_members`, {len(keys)}, if it is an "
            f"ensemble, got {len(trained)}"
        )
    places = (jnp.arange(len(keys)) + 0.5) / len(keys)
    return jax.vmap(lambda u, key: trained.member(u).sample(key))(places, keys)


def _of_members(batches: Any, num_members: int) -> Batch:
    """Batches with a leading axis of members, checked."""
    with naming("batch"):
        num_batches = batch_size(batches)
    if num_batches != num_members or any(jnp.ndim(leaf) < 2 for leaf in jax.tree.leaves(batches)):
        raise InputError(
            f"`batch` must have the axes `members batch ...` for {num_members} members, got shapes "
            f"{[jnp.shape(leaf) for leaf in jax.tree.leaves(batches)]}"
        )
    return batches
