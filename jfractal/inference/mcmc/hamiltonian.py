"""Hamiltonian Monte Carlo by NumPyro: the reference posterior."""

from collections.abc import Sequence
from math import pi, sqrt
from pathlib import Path

from numpyro.infer import HMC, NUTS

from jfractal.arguments import check_flags, check_number, check_positive
from jfractal.counts import check_counts
from jfractal.inference.batch import Batch
from jfractal.inference.mcmc.chains import Chains
from jfractal.inference.mcmc.euclidean import Hamiltonian
from jfractal.inference.mcmc.plan import Device, Plan, Precision
from jfractal.inference.mcmc.sampler import run
from jfractal.inference.mcmc.starts import Starts
from jfractal.inference.model import Model
from jfractal.posterior.gaussian import Where, everywhere
from jfractal.typing import KeyArray, Params

__all__ = ["hmc", "nuts", "quarter_period"]


def nuts(
    model: Model,
    data: Batch,
    key: KeyArray,
    *,
    starts: Starts,
    where: Where = everywhere,
    num_chains: int = 4,
    num_warmup: int = 500,
    num_draws: int = 500,
    thinning: int = 1,
    target_accept: float = 0.8,
    max_tree_depth: int = 10,
    inverse_mass: Params | None = None,
    temperature: float = 1.0,
    batch_size: int | None = None,
    precision: Precision = "float32",
    directory: str | Path | None = None,
    devices: Sequence[Device] | None = None,
    progress: bool | None = None,
) -> Chains:
    """Samples ``p(w | D)`` with the No-U-Turn sampler, chains vectorised in one program.

    Args:
        model: Likelihood and prior, with a net that is a function of its weights. The evaluation
            pass is used: no dropout, drop-path, augmentation, or batch norm in training mode.
        data: Inputs and targets, ``(x, y)``; every gradient is over all of them.
        key: Random key.
        starts: The starting points: a function of a key, e.g. ``lambda key: net.init(key,
            x)["params"]``, which should start chains far apart; a tree of weights with a leading
            axis of chains; or an `Ensemble` or `Samples` with one member per chain. Other variables
            of the net, such as batch statistics, stay fixed.
        where: ``where(path, leaf)`` picks the weights to sample. All other weights stay fixed at
            their start, which is the same in all chains if `starts` is a function.
        num_chains: Number of chains, at least 1.
        num_warmup: Steps of each chain that adapt step size and mass matrix, at least 1.
        num_draws: Number of draws to keep from each chain, at least 4.
        thinning: Steps from one draw to the next, at least 1.
        target_accept: Acceptance probability that the step size is adapted to, in (0, 1).
        max_tree_depth: Bound on the depth of a trajectory, at least 1: at most 2^depth gradients.
        inverse_mass: A variance for every weight, such as ``q.variance()`` of a mean field or any
            other posterior. The diagonal mass matrix starts from it, and warm-up adapts it further.
        temperature: T of the posterior ``∝ (p(D | w) p(w))^{1/T}``, above 0.
        batch_size: Examples that go through the net at once, in every chain. The sum over all
            examples does not depend on it. By default, as many as `ops.memory_budget` allows.
        precision: Precision in which the chains move, ``float32`` or ``float64``. Draws are kept in
            the precision of the weights.
        directory: Directory to keep draws and state in, instead of memory. The same call continues
            a run that was cut off, in warm-up or later, and gives the draws of an uninterrupted
            run.
        devices: Devices to spread the chains over; their number must divide `num_chains`. By
            default, all chains run on the default device.
        progress: Whether to show a progress bar. By default, only on a terminal.

    Returns:
        `Chains`. With a `directory`, their weights are NumPy arrays on disk.

    Raises:
        InputError: If an argument is out of range; if the log joint is random, not finite at the
            start, or depends on which examples are seen together; if the data do not fit the net;
            or if `directory` holds another run or a damaged one, or is in use by another process.

    Example:
        ::

            chains = jf.nuts(model, (x, y), key, starts=start, num_warmup=100, num_draws=100)
            str(chains.diagnose(chains.outputs(net.apply, x)))

    References:
        Hoffman & Gelman, "The No-U-Turn sampler", JMLR 2014; Phan et al., "Composable effects for
        flexible and accelerated probabilistic programming in NumPyro", 2019.
    """
    check_acceptance(target_accept)
    check_counts(max_tree_depth=max_tree_depth)
    options = {"target_accept_prob": target_accept, "max_tree_depth": max_tree_depth}
    return run(
        Hamiltonian(NUTS, num_warmup, tuple(options.items())),
        model,
        data,
        key,
        Plan(
            starts=starts,
            where=where,
            num_chains=num_chains,
            num_warmup=num_warmup,
            num_draws=num_draws,
            thinning=thinning,
            inverse_mass=inverse_mass,
            temperature=temperature,
            batch_size=batch_size,
            precision=precision,
            directory=directory,
            devices=devices,
            progress=progress,
        ),
    )


def hmc(
    model: Model,
    data: Batch,
    key: KeyArray,
    *,
    starts: Starts,
    trajectory_length: float,
    where: Where = everywhere,
    adapt_mass: bool = True,
    num_chains: int = 4,
    num_warmup: int = 500,
    num_draws: int = 500,
    thinning: int = 1,
    target_accept: float = 0.8,
    inverse_mass: Params | None = None,
    temperature: float = 1.0,
    batch_size: int | None = None,
    precision: Precision = "float32",
    directory: str | Path | None = None,
    devices: Sequence[Device] | None = None,
    progress: bool | None = None,
) -> Chains:
    """Samples ``p(w | D)`` with trajectories of fixed length.

    Args:
        model: Likelihood and prior, with a net that is a function of its weights in evaluation.
        data: Inputs and targets, ``(x, y)``; every gradient is over all of them.
        key: Random key.
        starts: The starting points: a function of a key, a tree of weights with a leading axis of
            chains, or an `Ensemble` or `Samples` with one member per chain.
        trajectory_length: Step size times number of leapfrog steps, above 0. With an adapted mass
            matrix, the posterior has a standard deviation of about 1, and π/2 takes a trajectory
            from the centre of a Gaussian to its shell. Without one, the corresponding length is
            `quarter_period` of the largest standard deviation.
        where: ``where(path, leaf)`` picks the weights to sample; all others stay at their start.
        adapt_mass: Whether warm-up adapts the mass matrix, or only the step size.
        num_chains: Number of chains, at least 1.
        num_warmup: Steps of each chain that adapt step size and mass matrix, at least 1.
        num_draws: Number of draws to keep from each chain, at least 4.
        thinning: Steps from one draw to the next, at least 1.
        target_accept: Acceptance probability that the step size is adapted to, in (0, 1).
        inverse_mass: A variance for every weight, such as ``q.variance()`` of any posterior; the
            mass matrix starts from it. By default, 1 for every weight.
        temperature: T of the posterior ``∝ (p(D | w) p(w))^{1/T}``, above 0.
        batch_size: Examples that go through the net at once, in every chain. No result depends on
            it. By default, as many as `ops.memory_budget` allows.
        precision: Precision in which the chains move, ``float32`` or ``float64``.
        directory: Directory to keep draws and state in; the same call continues a run that was cut
            off.
        devices: Devices to spread the chains over; their number must divide `num_chains`. By
            default, all chains run on the default device.
        progress: Whether to show a progress bar. By default, only on a terminal.

    Returns:
        `Chains`.

    Raises:
        InputError: If an argument is out of range, the log joint is random or not finite at
            the start, data do not fit the net, or `directory` holds another run or a
            damaged one.

    References:
        Neal, "MCMC using Hamiltonian dynamics", 2011.
    """
    check_acceptance(target_accept)
    check_positive(trajectory_length=trajectory_length)
    check_flags(adapt_mass=adapt_mass)
    options = {
        "target_accept_prob": target_accept,
        "trajectory_length": float(trajectory_length),
        "adapt_mass_matrix": adapt_mass,
    }
    return run(
        Hamiltonian(HMC, num_warmup, tuple(options.items())),
        model,
        data,
        key,
        Plan(
            starts=starts,
            where=where,
            num_chains=num_chains,
            num_warmup=num_warmup,
            num_draws=num_draws,
            thinning=thinning,
            inverse_mass=inverse_mass,
            temperature=temperature,
            batch_size=batch_size,
            precision=precision,
            directory=directory,
            devices=devices,
            progress=progress,
        ),
    )


def quarter_period(scale: float, temperature: float = 1.0) -> float:
    """``π/2 · σ √T``: the time of a trajectory from the centre of a Gaussian to its shell.

    With the scale of a Gaussian prior, this is the longest trajectory that a posterior needs
    without a mass matrix: the likelihood narrows the prior, so no weight's posterior is wider.

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
    check_positive(scale=scale, temperature=temperature)
    return pi / 2 * scale * sqrt(temperature)


def check_acceptance(target_accept: float) -> None:
    """Refuses a target that is not a probability in (0, 1)."""
    check_number("between 0 and 1", lambda x: 0 < x < 1, target_accept=target_accept)
