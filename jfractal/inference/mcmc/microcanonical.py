"""Microcanonical Monte Carlo: chains of constant speed, without and with rejection."""

from collections.abc import Sequence
from pathlib import Path

from jfractal.arguments import check_flags, check_positive
from jfractal.inference.batch import Batch
from jfractal.inference.mcmc.chains import Chains
from jfractal.inference.mcmc.hamiltonian import check_acceptance
from jfractal.inference.mcmc.plan import Device, Plan, Precision
from jfractal.inference.mcmc.sampler import run
from jfractal.inference.mcmc.starts import Starts
from jfractal.inference.model import Model
from jfractal.posterior.gaussian import Where, everywhere
from jfractal.typing import KeyArray, Params

__all__ = ["adjusted_mclmc", "mclmc"]


def mclmc(
    model: Model,
    data: Batch,
    key: KeyArray,
    *,
    starts: Starts,
    where: Where = everywhere,
    num_chains: int = 4,
    num_warmup: int = 5000,
    num_draws: int = 500,
    thinning: int = 10,
    energy_variance: float = 5e-4,
    adapt_mass: bool = True,
    inverse_mass: Params | None = None,
    temperature: float = 1.0,
    batch_size: int | None = None,
    precision: Precision = "float32",
    directory: str | Path | None = None,
    devices: Sequence[Device] | None = None,
    progress: bool | None = None,
) -> Chains:
    """Samples ``p(w | D)`` with microcanonical Langevin Monte Carlo, which rejects no step.

    ``dw = u dt``, ``du = (I − u uᵀ) (∇ log p(w | D) dt / (d − 1) + η dB)``: a chain moves at
    constant speed, turns towards higher density, and forgets its direction over a path of length L.
    A step takes two gradients. Steps of finite length ε bias the draws slightly. The variance of
    the energy error bounds this bias: an `energy_variance` of 0.0005 per weight means errors of a
    few per cent in second moments. `adjusted_mclmc` has no bias.

    Warm-up tunes every chain separately, to the mode that it is in:

    - ε such that ``E[ΔE²] = v d``, where ΔE is the energy error of a step, v the `energy_variance`
      and d the number of weights. Every step gives an estimate, from ``E[ΔE²] ∝ ε⁶``.
    - The mass: ``M⁻¹ = diag Var[w]`` along the chain.
    - ``L = 0.4 ε τ``, where τ is the number of steps per effective draw, averaged over weights.
      Before τ is known, L is the radius of the target, ``(Σᵢ Var[wᵢ] / M⁻¹ᵢ)^½``.

    If `starts` are the members of a deep ensemble, this is MILE. Chains that stay in different
    modes disagree: check R-hat of predictions rather than weights, and rely on the ensemble to
    cover the modes.

    Args:
        model: Likelihood and prior, with a net that is a function of its weights in evaluation.
        data: Inputs and targets, ``(x, y)``; every gradient is over all of them.
        key: Random key.
        starts: The starting points: a function of a key, a tree of weights with a leading axis of
            chains, or an `Ensemble` or `Samples` with one member per chain.
        where: ``where(path, leaf)`` picks the weights to sample; all others stay at their start.
        num_chains: Number of chains, at least 1.
        num_warmup: Warm-up steps of each chain, at least 1.
        num_draws: Number of draws to keep from each chain, at least 4.
        thinning: Steps from one draw to the next, at least 1. Neighbouring steps are very similar.
        energy_variance: Target for the variance of the energy error of a step, in nats² per weight,
            above 0; ε is tuned to it. MILE uses 0.1 for nets, where only predictions count.
        adapt_mass: Whether warm-up adapts a diagonal mass matrix, or only ε and L.
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
        `Chains`, whose statistics have ``energy_error`` instead of an acceptance probability.

    Raises:
        InputError: If an argument is out of range, fewer than 2 weights are sampled, the log joint
            is random or not finite at the start, the data do not fit the net, or `directory` holds
            another run or a damaged one.

    Example:
        ::

            method = jf.ensemble(jf.maximum_a_posteriori(model, optax.adam(1e-3)), 8)
            fit = jf.fit(method, start, (x, y), key, num_epochs=20, batch_size=128)
            chains = jf.mclmc(
                model, (x, y), key, starts=fit.posterior, num_chains=8, num_warmup=500, num_draws=50
            )

    References:
        Robnik & Seljak, "Fluctuation without dissipation: microcanonical Langevin Monte Carlo",
        2024; Sommer et al., "Microcanonical Langevin ensembles: advancing the sampling of Bayesian
        neural networks", ICLR 2025 (MILE).
    """
    check_positive(energy_variance=energy_variance)
    check_flags(adapt_mass=adapt_mass)
    # Here, for blackjax starts JAX when it is imported, which is the caller's to do.
    from jfractal.inference.mcmc.isokinetic import Unadjusted

    return run(
        Unadjusted(num_warmup, float(energy_variance), adapt_mass),
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


def adjusted_mclmc(
    model: Model,
    data: Batch,
    key: KeyArray,
    *,
    starts: Starts,
    where: Where = everywhere,
    num_chains: int = 4,
    num_warmup: int = 1000,
    num_draws: int = 500,
    thinning: int = 1,
    target_accept: float = 0.9,
    adapt_mass: bool = True,
    inverse_mass: Params | None = None,
    temperature: float = 1.0,
    batch_size: int | None = None,
    precision: Precision = "float32",
    directory: str | Path | None = None,
    devices: Sequence[Device] | None = None,
    progress: bool | None = None,
) -> Chains:
    """Samples ``p(w | D)`` with microcanonical trajectories that are accepted or rejected.

    This is `mclmc` without noise: a trajectory starts in a random direction and lasts a quarter of
    a period on average; its end is accepted with the probability that makes the draws exact.

    Args:
        model: Likelihood and prior, with a net that is a function of its weights in evaluation.
        data: Inputs and targets, ``(x, y)``; every gradient is over all of them.
        key: Random key.
        starts: The starting points: a function of a key, a tree of weights with a leading axis of
            chains, or an `Ensemble` or `Samples` with one member per chain.
        where: ``where(path, leaf)`` picks the weights to sample; all others stay at their start.
        num_chains: Number of chains, at least 1.
        num_warmup: Trajectories of each chain that adapt step size and mass, at least 1.
        num_draws: Number of draws to keep from each chain, at least 4.
        thinning: Trajectories from one draw to the next, at least 1.
        target_accept: Acceptance probability that the step size is adapted to, in (0, 1).
        adapt_mass: Whether warm-up adapts a diagonal mass matrix, or only the step size.
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
        InputError: If an argument is out of range, fewer than 2 weights are sampled, the log joint
            is random or not finite at the start, the data do not fit the net, or `directory` holds
            another run or a damaged one.

    References:
        Robnik, Cohn-Gordon & Seljak, "Metropolis adjusted microcanonical Hamiltonian Monte Carlo",
        2025.
    """
    check_acceptance(target_accept)
    check_flags(adapt_mass=adapt_mass)
    # Here, for blackjax starts JAX when it is imported, which is the caller's to do.
    from jfractal.inference.mcmc.isokinetic import Adjusted

    return run(
        Adjusted(num_warmup, float(target_accept), adapt_mass),
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
