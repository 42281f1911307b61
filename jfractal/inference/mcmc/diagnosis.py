"""Whether Markov chains have converged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from jfractal.metrics.convergence import ess, ess_tail, rhat

__all__ = ["MAX_RHAT", "MIN_EBFMI", "MIN_ESS_PER_CHAIN", "Diagnosis", "convergence", "reasons"]

# Vehtari et al. 2021, §4; Betancourt 2016, §6.
MAX_RHAT, MIN_ESS_PER_CHAIN, MIN_EBFMI = 1.01, 100, 0.3

# Robnik & Seljak 2024, §4: at 0.0005 errors of second moments are of a few per cent.
MAX_ENERGY_VARIANCE = 0.002


@dataclass(frozen=True)
class Diagnosis:
    """Whether chains have converged, in figures and in words.

    Attributes:
        figures: Always: ``rhat``, ``ess`` and ``ess_tail`` of the log joint, ``divergences`` (their
            number), ``num_gradients`` and ``num_warmup_gradients`` (over all chains). If known:
            ``ebfmi`` (the smallest of all chains), ``accept_prob`` (mean) and ``energy_variance``
            (per weight, mean). If predictions were given: ``rhat_predictions`` (the largest),
            ``ess_predictions`` and ``ess_tail_predictions`` (the smallest). On request, the same
            three with ``_weights``.
        reasons: What is wrong, one sentence each; empty if the chains have converged.
    """

    figures: Mapping[str, float]
    reasons: tuple[str, ...]

    @property
    def converged(self) -> bool:
        """Whether there is no reason against convergence."""
        return not self.reasons

    def __str__(self) -> str:
        if self.converged:
            return "The chains agree: nothing speaks against them."
        return f"NOT to be taken for a reference: {'; '.join(self.reasons)}."


def convergence(draws: np.ndarray, suffix: str) -> dict[str, float]:
    """The worst R-hat and effective sample sizes over all quantities, named with a suffix.

    Args:
        draws: Draws of each quantity, "chains draws *event".
        suffix: Suffix of the names ``rhat``, ``ess`` and ``ess_tail``.

    Returns:
        The three figures by name.
    """
    return {
        f"rhat{suffix}": float(rhat(draws).max()),
        f"ess{suffix}": float(ess(draws).min()),
        f"ess_tail{suffix}": float(ess_tail(draws).min()),
    }


def reasons(figures: Mapping[str, float], max_rhat: float, min_ess: int) -> Iterator[str]:
    """The reasons why chains with these figures have not converged, one sentence each.

    Args:
        figures: Figures by name, as in `Diagnosis`.
        max_rhat: The largest acceptable R-hat.
        min_ess: The smallest acceptable effective sample size.
    """
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
