"""Hamiltonian Monte Carlo, by NumPyro: the reference posterior."""

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
        model: Likelihood and prior, with a net that is a function of its weights: its evaluation
            pass counts, without dropout, drop-path, augmentation or batch norm in training.
        data: Inputs and targets, ``(x, y)``; every gradient is over all of them.
        key: Random key.
        starts: Where chains start: a function of a key, e.g.
            ``lambda key: net.init(key, x)["params"]``, which should start them far apart; or a
            tree of weights with a leading axis of chains; or an `Ensemble` or `Samples` of as many
            members as chains. Other variables of the net, such as batch statistics, stay as they
            are.
        where: ``where(path, leaf)`` says which weights are sampled, given all others, which stay
            at their start. A function of a key starts these alike in all chains.
        num_chains: Number of chains, at least 1.
        num_warmup: Steps of each chain to adapt step size and mass matrix, at least 1.
        num_draws: Draws of each chain that are kept, at least 4.
        thinning: Steps from one draw to the next, at least 1.
        target_accept: Acceptance probability that the step size is adapted to, in (0, 1).
        max_tree_depth: Bound on the depth of a trajectory, at least 1: at most 2^depth gradients.
        inverse_mass: A variance for every weight, from which the diagonal mass matrix starts:
            ``q.variance()`` of a mean field, or of any posterior. Warm-up goes on adapting it.
        temperature: T of the posterior ``∝ (p(D | w) p(w))^{1/T}``, above 0.
        batch_size: Examples that go through the net at once, in every chain; the sum over all of
            them does not depend on it. As many as `ops.memory_budget` holds if left out.
        precision: ``float32``, or ``float64`` for the movement of the chains; draws are kept in
            the precision of the weights.
        directory: Where to keep draws and state as they come, instead of in memory. The same call
            continues a run that was cut off, warm-up or not, and has the draws that it would have
            had.
        devices: Spreads the chains over these, which must divide them; all on the default device
            if left out.
        progress: Whether to show a progress bar; on a terminal only if left out.

    Returns:
        `Chains`; with a `directory`, their weights are NumPy arrays that lie on disk.

    Raises:
        InputError: If an argument is out of range; if the log joint is random, not finite at the
            start, or goes by which examples are seen together; if data do not fit the net; or if
            `directory` holds another run, or a damaged one, or another process works in it.

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
        model: Likelihood and prior, with a net that is a function of its weights in
            evaluation.
        data: Inputs and targets, ``(x, y)``; every gradient is over all of them.
        key: Random key.
        starts: Where chains start: a function of a key, a tree of weights with a leading
            axis of chains, or an `Ensemble` or `Samples` of as many members as chains.
        trajectory_length: Step size times leapfrog steps, above 0. With an adapted mass matrix the
            posterior has a standard deviation of about 1: π/2 takes a Gaussian from its centre to
            its shell. Without, that is `quarter_period` of its largest standard deviation.
        where: ``where(path, leaf)`` says which weights are sampled; all others stay at
            their start.
        adapt_mass: Whether warm-up adapts the mass matrix, or only the step size.
        num_chains: Number of chains, at least 1.
        num_warmup: Steps of each chain to adapt step size and mass matrix, at least 1.
        num_draws: Draws of each chain that are kept, at least 4.
        thinning: Steps from one draw to the next, at least 1.
        target_accept: Acceptance probability that the step size is adapted to, in (0, 1).
        inverse_mass: A variance for every weight, such as ``q.variance()`` of any
            posterior, from which the mass matrix starts; 1 for each if left out.
        temperature: T of the posterior ``∝ (p(D | w) p(w))^{1/T}``, above 0.
        batch_size: Examples that go through the net at once, in every chain; as many as
            `ops.memory_budget` holds if left out. No result depends on it.
        precision: ``float32``, or ``float64`` for the movement of the chains.
        directory: Where to keep draws and state as they come; the same call continues a run
            that was cut off.
        devices: Spreads the chains over these, which must divide them; all on the default
            device if left out.
        progress: Whether to show a progress bar; on a terminal only if left out.

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
    check_positive(scale=scale, temperature=temperature)
    return pi / 2 * scale * sqrt(temperature)


def check_acceptance(target_accept: float) -> None:
    """Refuses what is no acceptance probability."""
    check_number("between 0 and 1", lambda x: 0 < x < 1, target_accept=target_accept)
