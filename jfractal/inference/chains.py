"""Draws of Markov chains: a posterior like any other, and how far to trust it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from jfractal.errors import InputError
from jfractal.metrics.convergence import ebfmi, ess, ess_tail, rhat
from jfractal.posterior.gaussian import named_leaves
from jfractal.posterior.samples import Samples
from jfractal.typing import Apply, Array, Float, KeyArray, Params, Scalar, Variables

__all__ = ["Chains", "Diagnosis"]

# Vehtari et al. 2021, §4; Betancourt 2016, §6.
MAX_RHAT, MIN_ESS_PER_CHAIN, MIN_EBFMI = 1.01, 100, 0.3


@dataclass(frozen=True)
class Diagnosis:
    """Whether chains are to be trusted, by figures and in words.

    Attributes:
        figures: Of the log joint ``rhat``, ``ess``, ``ess_tail``; ``ebfmi`` (the smallest of all
            chains), ``divergences`` (their number), ``accept_prob`` (mean), ``num_gradients``
            and ``num_warmup_gradients`` (of all chains together); and where predictions were
            given ``rhat_predictions`` (the largest), ``ess_predictions`` and
            ``ess_tail_predictions`` (the smallest); the same of ``_weights`` on request.
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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Chains:
    """Draws of Markov chains: a posterior like any other.

    Attributes:
        params: The tree of weights with leading axes "chains draws".
        statistics: Of each draw, with axes "chains draws": ``log_joint`` (nats), ``energy`` (nats),
            ``accept_prob``, ``num_gradients`` and ``divergences`` (both since the draw before).
        warmup_gradients: Gradients that each chain took to adapt, "chains".
    """

    params: Params
    statistics: dict[str, Any]
    warmup_gradients: Any

    @property
    def samples(self) -> Samples:
        """All draws, chain after chain, in one axis."""
        return Samples(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), self.params))

    def sample(self, key: KeyArray) -> Variables:
        """One of the draws, uniformly over all chains."""
        return self.samples.sample(key)

    def sample_at(self, u: float | Scalar, key: KeyArray) -> Variables:
        """Draw ``⌊u · chains · draws⌋``, with u in [0, 1), see `Samples.sample_at`."""
        return self.samples.sample_at(u, key)

    def outputs(self, apply: Apply, x: Any) -> Float[Array, "chains draws batch *event"]:
        """The net's output at `x` for every draw, e.g. for R-hat and ESS of predictions."""
        one = jax.jit(lambda params: apply({"params": params}, x))
        return jax.lax.map(lambda chain: jax.lax.map(one, chain, batch_size=100), self.params)

    def to_arviz(self) -> Any:
        """The draws for ArviZ: an InferenceData, or with ArviZ 1.0 and newer the DataTree.

        Groups ``posterior`` (weights by path, ``block1/conv/kernel``) and ``sample_stats`` (``lp``,
        ``energy``, ``acceptance_rate``, ``n_steps``, ``diverging``).

        Raises:
            InputError: If ArviZ is not installed.
        """
        try:
            import arviz
        except ImportError as error:
            message = "`to_arviz` needs ArviZ: pip install 'jfractal[arviz]'"
            raise InputError(message) from error
        statistics = {name: np.asarray(value) for name, value in self.statistics.items()}
        groups = {
            "posterior": {name: np.asarray(w) for name, w in named_leaves(self.params)},
            "sample_stats": {
                "lp": statistics["log_joint"],
                "energy": statistics["energy"],
                "acceptance_rate": statistics["accept_prob"],
                "n_steps": statistics["num_gradients"],
                "diverging": statistics["divergences"] > 0,
            },
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
        tail effective sample sizes are at least 100 for each chain, no trajectory diverged, and
        E-BFMI is at least 0.3. Weights have no say: those of a net can be permuted.

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
        statistics = {name: np.asarray(value) for name, value in self.statistics.items()}
        sizes = _convergence(statistics["log_joint"], "")
        if outputs is not None:
            sizes |= _convergence(np.asarray(outputs), "_predictions")
        if weights:
            flat = [w.reshape(*w.shape[:2], -1) for w in jax.tree.leaves(self.params)]
            sizes |= _convergence(np.concatenate(flat, axis=-1), "_weights")
        figures = {
            **sizes,
            "ebfmi": float(ebfmi(statistics["energy"]).min()),
            "divergences": float(statistics["divergences"].sum()),
            "accept_prob": float(statistics["accept_prob"].mean()),
            "num_gradients": float(statistics["num_gradients"].sum()),
            "num_warmup_gradients": float(np.sum(self.warmup_gradients)),
        }
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
    if not (value := figures["ebfmi"]) >= MIN_EBFMI:
        yield f"E-BFMI is {value:.2f}, below {MIN_EBFMI}: momenta explore the energies too slowly"
