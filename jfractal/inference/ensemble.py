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

    An ensemble of `maximum_a_posteriori` is a deep ensemble, one of `variational` or `swag` is a
    mixture of Gaussians, and one of `sgld` or `sghmc` is a set of chains. Members are vmapped: each
    step is one program for all of them, and needs the memory of all of them. If each step draws a
    route through a fractal net, the members run one after another instead, so that no member pays
    for the routes of the others.

    Give `fit` a function of a random key, so that every member has its own start:
    ``jf.fit(method, lambda key: net.init(key, x)["params"], data, key, ...)``. If `fit` is given
    one tree, all members start alike and differ only in their batches. If it is given an `Ensemble`
    of `num_members` members, each member starts from one of them; this is how chains continue from
    trained nets. `fit` draws separate batches for every member. In a loop of your own, `update`
    takes one batch for all members, or `PerMember` batches.

    Args:
        method: The method to fit many times.
        num_members: Number of members, at least 1.

    Returns:
        A `Method` whose posterior is an `Ensemble`. Its reported metrics have an axis of members.

    Raises:
        InputError: If `num_members` is smaller than 1, or `method` is itself an ensemble.

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
            "`method` must be a method that is not an ensemble, such as `maximum_a_posteriori("
            f"model, optimizer)`, got {getattr(method, 'name', method)!r}"
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
            f"`params` must have `num_members` = {len(keys)} members if it is an ensemble, got "
            f"{len(trained)}"
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
