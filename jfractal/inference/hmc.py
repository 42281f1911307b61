"""Hamiltonian Monte Carlo, by NumPyro: the reference posterior."""

from collections.abc import Callable, Sequence
from functools import partial
from math import pi, sqrt
from pathlib import Path

from numpyro.infer import HMC, NUTS

from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.chains import Chains
from jfractal.inference.sampler import Device, LogDensity, Plan, Precision, run
from jfractal.typing import KeyArray, Params

__all__ = ["hmc", "nuts", "quarter_period"]


def nuts(
    log_joint: LogDensity,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    num_chains: int = 4,
    num_warmup: int = 500,
    num_samples: int = 500,
    thinning: int = 1,
    target_accept: float = 0.8,
    max_tree_depth: int = 10,
    inverse_mass: Params | None = None,
    precision: Precision = "float32",
    directory: str | Path | None = None,
    devices: Sequence[Device] | None = None,
    progress_bar: bool = False,
) -> Chains:
    """Samples ``p(w | D)`` with the No-U-Turn sampler, chains vectorised in one program.

    Args:
        log_joint: Function of a tree of weights, in nats, see `LogJoint`. It must be
            deterministic, over the full data. For a posterior at temperature T give
            ``lambda w: log_joint(w) / T``.
        init: Draws the start of a chain; chains should start far apart, e.g. at
            ``lambda key: net.init(key, x)["params"]``.
        key: Random key.
        num_chains: Number of chains, at least 1.
        num_warmup: Steps of each chain to adapt step size and mass matrix, at least 1.
        num_samples: Draws of each chain that are kept, at least 4 (the diagnostics halve the
            chains).
        thinning: Steps from one draw to the next, at least 1.
        target_accept: Acceptance probability that the step size is adapted to, in (0, 1).
        max_tree_depth: Bound on the depth of a trajectory, at least 1: at most 2^depth gradients.
        inverse_mass: A variance for every weight, from which the diagonal mass matrix starts;
            that of a mean-field fit is ``jf.variance(params)``. Warm-up goes on adapting it.
        precision: ``float32``, or ``float64`` for the movement of the chains; draws are kept in
            the precision of the weights.
        directory: Where to keep draws and state as they come, instead of in memory. The same call
            continues a run that was cut off, warm-up or not, and has the draws that it would have
            had.
        devices: Spreads the chains over these, which must divide them; all on the default device
            if left out.
        progress_bar: Whether to show one.

    Returns:
        `Chains`; with a `directory`, their weights are NumPy arrays that lie on disk.

    Raises:
        InputError: If an argument is out of range; if the log joint is random, not finite at the
            start or, being a `LogJoint`, goes by which examples are seen together; if data do not
            fit the net; or if `directory` holds another run.

    Source: Hoffman & Gelman, JMLR 2014; Phan et al., NumPyro, 2019.
    """
    _check_fraction(target_accept)
    check_counts(max_tree_depth=max_tree_depth)
    kernel = partial(NUTS, target_accept_prob=target_accept, max_tree_depth=max_tree_depth)
    plan = Plan(
        num_chains, num_warmup, num_samples, thinning, precision, directory, devices, progress_bar
    )
    return run(kernel, log_joint, init, key, plan, inverse_mass=inverse_mass)


def hmc(
    log_joint: LogDensity,
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    trajectory_length: float,
    adapt_mass: bool = True,
    num_chains: int = 4,
    num_warmup: int = 500,
    num_samples: int = 500,
    thinning: int = 1,
    target_accept: float = 0.8,
    inverse_mass: Params | None = None,
    precision: Precision = "float32",
    directory: str | Path | None = None,
    devices: Sequence[Device] | None = None,
    progress_bar: bool = False,
) -> Chains:
    """Samples ``p(w | D)`` with trajectories of fixed length.

    Args:
        log_joint: As for `nuts`.
        init: As for `nuts`.
        key: Random key.
        trajectory_length: Step size times leapfrog steps, above 0. With an adapted mass matrix the
            posterior has a standard deviation of about 1: π/2 takes a Gaussian from its centre to
            its shell. Without, that is `quarter_period` of its largest standard deviation.
        adapt_mass: Whether warm-up adapts the mass matrix, or only the step size.
        num_chains: As for `nuts`.
        num_warmup: As for `nuts`.
        num_samples: As for `nuts`.
        thinning: As for `nuts`.
        target_accept: As for `nuts`.
        inverse_mass: As for `nuts`; the identity if left out.
        precision: As for `nuts`.
        directory: As for `nuts`.
        devices: As for `nuts`.
        progress_bar: As for `nuts`.

    Returns:
        `Chains`.

    Raises:
        InputError: As for `nuts`, or if `trajectory_length` is not above 0.

    Source: Neal, "MCMC using Hamiltonian dynamics", 2011.
    """
    _check_fraction(target_accept)
    if not trajectory_length > 0:
        raise InputError(f"`trajectory_length` must be above 0, got {trajectory_length}")
    kernel = partial(
        HMC,
        target_accept_prob=target_accept,
        trajectory_length=float(trajectory_length),
        adapt_mass_matrix=adapt_mass,
    )
    plan = Plan(
        num_chains, num_warmup, num_samples, thinning, precision, directory, devices, progress_bar
    )
    return run(kernel, log_joint, init, key, plan, inverse_mass=inverse_mass)


def quarter_period(scale: float, temperature: float = 1.0) -> float:
    """``π/2 · σ √T``: how long a trajectory takes from the centre of a Gaussian to its shell.

    Of the prior, the longest trajectory that a posterior can need without a mass matrix: no
    weight's posterior is wider, if the prior is a Gaussian of that scale and likelihoods narrow it.

    Args:
        scale: σ, the standard deviation of the prior, above 0.
        temperature: T of the posterior, above 0.

    Returns:
        A trajectory length for `hmc` with ``adapt_mass=False``.

    Raises:
        InputError: If an argument is not above 0.

    Source: Izmailov et al., "What are Bayesian neural network posteriors really like?", ICML 2021,
        §3.2 (there at T = 1).
    """
    if not scale > 0 or not temperature > 0:
        raise InputError(
            f"`scale` and `temperature` must be above 0, got {scale} and {temperature}"
        )
    return pi / 2 * scale * sqrt(temperature)


def _check_fraction(target_accept: float) -> None:
    if not 0 < target_accept < 1:
        raise InputError(f"`target_accept` must be between 0 and 1, got {target_accept}")
