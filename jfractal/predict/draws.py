"""Outputs of a model under draws of its weights."""

from typing import Any

import jax
from jax.sharding import Mesh

from jfractal.posterior.posterior import Posterior
from jfractal.predict.gathering import KEPT
from jfractal.predict.passes import run
from jfractal.predict.question import Question, check_apply
from jfractal.typing import Apply, Array, Float, KeyArray

__all__ = ["sample_outputs"]


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
    """The outputs of a net under draws of its weights, ``apply(w_s, x)`` with ``w_s ~ p(w | D)``.

    Draw s is one network for all of `x`, however `x` is split into batches and over devices. The
    draws of a pass are vmapped. Memory grows with `samples_per_pass` and `batch_size`; only the
    outputs grow with `num_samples`. Time grows linearly in both `num_samples` and the number of
    examples.

    Members of an ensemble, and stored draws, are taken by systematic sampling: each is used equally
    often as far as possible, and exactly once if there are `num_samples` of them.

    Args:
        apply: ``apply(variables, x) -> outputs``, e.g. ``net.apply``. The ``apply`` of an equal net
            is not compiled again.
        posterior: A pytree with ``sample(key) -> variables``: `MeanField`, `Point`, `Samples`, ….
            A posterior with M members has ``member(u) -> posterior``, which is member ⌊u·M⌋ for u
            in [0, 1). A posterior of a model other than the net, such as its linearization, has
            ``predictive(apply) -> apply``; the function it returns runs in place of the net.
        x: Inputs, an array or a tree of arrays with the same leading batch axis, at least one
            example. May be traced: `jax.jit`, `jax.vmap` and `jax.grad` pass through.
        key: Random key.
        num_samples: Number of draws, at least 1.
        batch_size: Examples in a pass, over all devices. By default, as many as memory allows, see
            `ops.memory_budget`. A last batch that is not full is padded, so that nothing is
            compiled twice.
        samples_per_pass: The most draws to vmap in a pass, on each device. By default, as many as
            run faster together than one after another, see `ops.side_by_side_budget`.
        mesh: Devices that share the work, with an axis ``data`` (each device takes a part of a
            batch), an axis ``samples`` (each takes a part of the draws), or both. By default, the
            work runs where JAX puts arrays. If there are several processes, all of them must call
            with equal arguments, and all receive equal outputs.

    Returns:
        The outputs of the net, "samples batch *event", or a tree of them if the net returns one.

    Raises:
        InputError: If `apply` is not a function, a number is not an integer of at least 1, `x`
            holds no example, `mesh` has other axes, or `posterior` cannot be drawn from.
    """
    check_apply(apply, "apply", "a function `apply(variables, x)`, such as `net.apply`")
    outputs = run(
        Question(apply, _as_they_are),
        KEPT,
        posterior,
        x,
        key,
        num_samples=num_samples,
        batch_size=batch_size,
        samples_per_pass=samples_per_pass,
        mesh=mesh,
    )
    return jax.tree.map(lambda a: a[:num_samples], outputs)


def _as_they_are(outputs: Any) -> Any:
    return outputs
