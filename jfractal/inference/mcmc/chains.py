"""Draws of Markov chains: a posterior like any other, and how far to trust it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jfractal import ops
from jfractal.arguments import (
    as_array,
    check_flags,
    check_functions,
    check_key,
    check_positive,
    naming,
)
from jfractal.errors import InputError
from jfractal.identity import ByContent
from jfractal.inference.batch import count_inputs
from jfractal.inference.net_errors import named_errors
from jfractal.metrics.convergence import ebfmi, ess, ess_tail, rhat
from jfractal.posterior.gaussian import named_leaves
from jfractal.posterior.posterior import Posterior
from jfractal.posterior.samples import Point, Samples, check_place
from jfractal.storage import storable
from jfractal.typing import Apply, Array, Float, KeyArray, Params, Scalar, Variables

__all__ = ["Chains", "Diagnosis"]

# Vehtari et al. 2021, §4; Betancourt 2016, §6.
MAX_RHAT, MIN_ESS_PER_CHAIN, MIN_EBFMI = 1.01, 100, 0.3

# Robnik & Seljak 2024, §4: at 0.0005 errors of second moments are of a few per cent.
MAX_ENERGY_VARIANCE = 0.002

ARVIZ = {
    "log_joint": "lp",
    "accept_prob": "acceptance_rate",
    "num_gradients": "n_steps",
    "divergences": "diverging",
}


@dataclass(frozen=True)
class Diagnosis:
    """Whether chains are to be trusted, by figures and in words.

    Attributes:
        figures: Of the log joint ``rhat``, ``ess``, ``ess_tail``; ``divergences`` (their number),
            ``num_gradients`` and ``num_warmup_gradients`` (of all chains together); where they are
            known ``ebfmi`` (the smallest of all chains), ``accept_prob`` (mean) and
            ``energy_variance`` (per weight, mean); and where predictions were given
            ``rhat_predictions`` (the largest), ``ess_predictions`` and ``ess_tail_predictions``
            (the smallest); the same of ``_weights`` on request.
        reasons: What is wrong, a sentence each; none if the chains have converged.
    """

    figures: Mapping[str, float]
    reasons: tuple[str, ...]

    @property
    def converged(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    def __str__(self) -> str:
        if self.converged:
            return "The chains agree: nothing speaks against them."
        return f"NOT to be taken for a reference: {'; '.join(self.reasons)}."


@storable
@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Chains(Posterior):
    """Draws of Markov chains: a posterior like any other.

    Attributes:
        variables: As `apply` takes them, with leading axes "chains draws"; of what was not sampled,
            "chains 1".
        statistics: Of each draw by name, with axes "chains draws": ``log_joint`` (nats),
            ``num_gradients`` and ``divergences`` (both since the draw before); of `nuts` and `hmc`
            ``energy`` (nats); of all but `mclmc` ``accept_prob``; of that ``energy_error`` (nats
            per √weight, of the last step).
        warmup_gradients: Gradients that each chain took to adapt, "chains".
    """

    variables: Variables
    statistics: dict[str, Any]
    warmup_gradients: Any

    @property
    def num_chains(self) -> int:
        """Number of chains."""
        return self.statistics["log_joint"].shape[0]

    @property
    def num_draws(self) -> int:
        """Draws of each chain."""
        return self.statistics["log_joint"].shape[1]

    @property
    def params(self) -> Params:
        """The tree of weights, all with leading axes "chains draws"."""
        return jax.tree.map(self._full, self.variables["params"])

    @property
    def samples(self) -> Samples:
        """All draws, chain after chain, in one axis."""
        flat = jax.tree.map(lambda x: self._full(x).reshape(-1, *x.shape[2:]), self.variables)
        return Samples(flat.pop("params"), flat)

    def sample(self, key: KeyArray) -> Variables:
        """One of the draws, uniformly over all chains."""
        check_key("key", key)
        return self.member(jax.random.uniform(key)).variables

    def member(self, u: float | Scalar) -> Point:
        """Draw ``⌊u · chains · draws⌋``, with u in [0, 1), chain after chain."""
        check_place(u)
        number = self.num_chains * self.num_draws
        # In float32 the product may round up to their number.
        place = jnp.minimum(jnp.floor(jnp.asarray(u) * number).astype(int), number - 1)
        chain, draw = jnp.divmod(place, self.num_draws)

        def taken(x: Any) -> Array:
            return jnp.asarray(x)[chain, draw if x.shape[1] > 1 else 0]

        return Point(jax.tree.map(taken, self.variables))

    def mean(self) -> Params:
        """The mean over all draws."""
        return jax.tree.map(lambda w: jnp.asarray(w).mean((0, 1)), self.variables["params"])

    def variance(self) -> Params:
        """The variance over all draws."""
        return jax.tree.map(lambda w: jnp.asarray(w).var((0, 1)), self.variables["params"])

    def outputs(self, apply: Apply, x: Any) -> Float[Array, "chains draws batch *event"]:
        """The net's output at `x` for every draw, e.g. for R-hat and ESS of predictions."""
        check_functions(apply=apply)
        count_inputs(x)
        with named_errors(x):
            return _outputs(ByContent(apply), self.num_draws, self.variables, x)

    @property
    def _sampled(self) -> dict[str, Any]:
        """The weights that moved, by path."""
        weights = named_leaves(self.variables["params"])
        return {path: w for path, w in weights if w.shape[1] == self.num_draws}

    def _full(self, x: Any) -> Any:
        """With the axis of draws at its length; of a NumPy array that stood still, a view."""
        if x.shape[1] == self.num_draws:
            return x
        numpy = jnp if isinstance(x, jax.Array) else np
        return numpy.broadcast_to(x, (x.shape[0], self.num_draws, *x.shape[2:]))

    def to_arviz(self) -> Any:
        """The draws for ArviZ: an InferenceData, or with ArviZ 1.0 and newer the DataTree.

        Groups ``posterior`` (weights that were sampled by path, ``block1/conv/kernel``) and
        ``sample_stats`` (``lp``, ``energy``, ``acceptance_rate``, ``n_steps``, ``diverging``).

        Raises:
            InputError: If ArviZ is not installed.
        """
        try:
            import arviz
        except ImportError as error:
            message = "`to_arviz` needs ArviZ: pip install 'jfractal[arviz]'"
            raise InputError(message) from error
        known = {ARVIZ.get(name, name): np.asarray(x) for name, x in self.statistics.items()}
        known["diverging"] = known["diverging"] > 0
        groups: dict[str, Any] = {
            "posterior": {path: np.asarray(w) for path, w in self._sampled.items()},
            "sample_stats": known,
        }
        takes_groups_by_name = arviz.__version__.startswith("0.")
        return arviz.from_dict(**groups) if takes_groups_by_name else arviz.from_dict(groups)

    @property
    def diagnostics(self) -> dict[str, float]:
        """The figures of `diagnose`, without predictions."""
        return dict(self.diagnose().figures)

    def diagnose(
        self,
        outputs: Float[ArrayLike, "chains draws *event"] | None = None,
        *,
        weights: bool = False,
        max_rhat: float = MAX_RHAT,
    ) -> Diagnosis:
        """Have the chains converged?

        They have if R-hat of the log joint and of every prediction is at most `max_rhat`, bulk and
        tail effective sample sizes are at least 100 for each chain, no trajectory diverged, E-BFMI
        is at least 0.3, and steps without acceptance are so short that the variance of their energy
        is at most 0.002 per weight. Weights have no say: those of a net can be permuted.

        Args:
            outputs: Predictions of each draw, e.g. from `outputs`: logits, or better what is
                reported.
            weights: Whether to have the figures of single weights too.
            max_rhat: The largest R-hat that will do.

        Returns:
            `Diagnosis`.

        Source: Vehtari et al., "Rank-normalization, folding, and localization", 2021, §4;
            Betancourt, "Diagnosing suboptimal cotangent disintegrations", 2016, §6 (E-BFMI).
        """
        check_flags(weights=weights)
        check_positive(max_rhat=max_rhat)
        statistics = {name: np.asarray(value) for name, value in self.statistics.items()}
        sizes = _convergence(statistics["log_joint"], "")
        if outputs is not None:
            shape = self.num_chains, self.num_draws
            if (outputs := np.asarray(as_array("outputs", outputs))).shape[:2] != shape:
                raise InputError(
                    f"`outputs` must have the axes `chains draws *event`, {shape} and more, got "
                    f"shape {outputs.shape}"
                )
            with naming("outputs"):
                sizes |= _convergence(outputs, "_predictions")
        if weights:
            flat = [w.reshape(*w.shape[:2], -1) for w in self._sampled.values()]
            sizes |= _convergence(np.concatenate(flat, axis=-1), "_weights")
        figures = {
            **sizes,
            "divergences": float(statistics["divergences"].sum()),
            "num_gradients": float(statistics["num_gradients"].sum()),
            "num_warmup_gradients": float(np.sum(self.warmup_gradients)),
        }
        if "energy" in statistics:
            figures["ebfmi"] = float(ebfmi(statistics["energy"]).min())
        if "accept_prob" in statistics:
            figures["accept_prob"] = float(statistics["accept_prob"].mean())
        if "energy_error" in statistics:
            figures["energy_variance"] = float((statistics["energy_error"] ** 2).mean())
        min_ess = MIN_ESS_PER_CHAIN * len(statistics["log_joint"])
        return Diagnosis(figures, tuple(_reasons(figures, max_rhat, min_ess)))


def _convergence(draws: np.ndarray, suffix: str) -> dict[str, float]:
    """Of the quantity of the draws that is the worst."""
    return {
        f"rhat{suffix}": float(rhat(draws).max()),
        f"ess{suffix}": float(ess(draws).min()),
        f"ess_tail{suffix}": float(ess_tail(draws).min()),
    }


def _reasons(figures: Mapping[str, float], max_rhat: float, min_ess: int) -> Any:
    names = {"": "the log joint", "_predictions": "the predictions"}
    for suffix, name in names.items():
        if f"rhat{suffix}" not in figures:
            continue
        # Written so that NaN, from chains that never moved, is a reason too.
        if not (value := figures[f"rhat{suffix}"]) <= max_rhat:
            yield f"R-hat of {name} is {value:.3f}, above {max_rhat}"
        for kind in ("ess", "ess_tail"):
            if not (value := figures[f"{kind}{suffix}"]) >= min_ess:
                of = "tail" if "tail" in kind else "bulk"
                yield f"the {of} effective sample size of {name} is {value:.0f}, below {min_ess}"
    if count := figures["divergences"]:
        yield f"{count:.0f} trajectories diverged"
    if not (value := figures.get("ebfmi", np.inf)) >= MIN_EBFMI:
        yield f"E-BFMI is {value:.2f}, below {MIN_EBFMI}: momenta explore the energies too slowly"
    if not (value := figures.get("energy_variance", 0.0)) <= MAX_ENERGY_VARIANCE:
        yield (
            f"the variance of the energy is {value:.2g} per weight, above {MAX_ENERGY_VARIANCE}: "
            "steps are so long that the draws are biased"
        )


@partial(ops.jit, static_argnums=(0, 1))
def _outputs(apply: ByContent[Apply], num_draws: int, variables: Variables, x: Any) -> Any:
    leaves, structure = jax.tree.flatten(variables)

    def of_chain(leaves):
        moving = [w if w.shape[0] == num_draws else None for w in leaves]
        still = [w[0] for w in leaves]

        def one(moving):
            both = [old if new is None else new for old, new in zip(still, moving)]
            return apply.value(jax.tree.unflatten(structure, both), x)

        return jax.lax.map(one, moving, batch_size=100)

    return jax.lax.map(of_chain, leaves)
