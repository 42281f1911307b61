"""Microcanonical Langevin Monte Carlo: chains of constant speed, without and with acceptance."""

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
    """Samples ``p(w | D)`` with microcanonical Langevin Monte Carlo, of which no step is rejected.

    ``dw = u dt``, ``du = (I − u uᵀ) (∇ log p(w | D) dt / (d − 1) + η dB)``: a chain moves at
    constant speed, turns towards higher density, and forgets its direction over a path of length L.
    A step is two gradients. Steps of a finite length ε bias the draws by a little, which the
    variance of the energy bounds: `energy_variance` of 0.0005 per weight stands for errors of
    second moments of a few per cent. `adjusted_mclmc` has no bias.

    Warm-up tunes every chain by itself, to the mode that it is in:

    - ε such that ``E[ΔE²] = v d``, ΔE the error in energy of a step, v the `energy_variance` and d
      the number of weights; from ``E[ΔE²] ∝ ε⁶``, every step gives an estimate.
    - The mass: ``M⁻¹ = diag Var[w]`` along the chain.
    - ``L = 0.4 ε τ``, τ the steps to an independent draw (steps by effective sample size), the mean
      over weights; before τ is known, the radius of the target, ``(Σᵢ Var[wᵢ] / M⁻¹ᵢ)^½``.

    With the members of a deep ensemble for `starts`, this is MILE. Chains that stay in modes of
    their own disagree: ask R-hat of predictions, and let the ensemble speak for the modes.

    Args:
        model: Likelihood and prior, with a net that is a function of its weights in
            evaluation.
        data: Inputs and targets, ``(x, y)``; every gradient is over all of them.
        key: Random key.
        starts: Where chains start: a function of a key, a tree of weights with a leading
            axis of chains, or an `Ensemble` or `Samples` of as many members as chains.
        where: ``where(path, leaf)`` says which weights are sampled; all others stay at
            their start.
        num_chains: Number of chains, at least 1.
        num_warmup: Steps of each chain to adapt, at least 1.
        num_draws: Draws of each chain that are kept, at least 4.
        thinning: Steps from one draw to the next, at least 1: neighbours are very much alike.
        energy_variance: Of a step, in nats² per weight, that ε is tuned to, above 0. MILE has 0.1
            for the weights of nets, of which only predictions count.
        adapt_mass: Whether warm-up adapts a diagonal mass matrix, or only ε and L.
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
        `Chains`, whose statistics have ``energy_error`` in place of an acceptance probability.

    Raises:
        InputError: If an argument is out of range, fewer than 2 weights move, the log joint
            is random or not finite at the start, data do not fit the net, or `directory`
            holds another run or a damaged one.

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

    The dynamics of `mclmc` without its noise: a direction is drawn, followed for a quarter of a
    period on average, and the end is accepted with the probability that makes the draws exact.

    Args:
        model: Likelihood and prior, with a net that is a function of its weights in
            evaluation.
        data: Inputs and targets, ``(x, y)``; every gradient is over all of them.
        key: Random key.
        starts: Where chains start: a function of a key, a tree of weights with a leading
            axis of chains, or an `Ensemble` or `Samples` of as many members as chains.
        where: ``where(path, leaf)`` says which weights are sampled; all others stay at
            their start.
        num_chains: Number of chains, at least 1.
        num_warmup: Trajectories of each chain to adapt step size and mass, at least 1.
        num_draws: Draws of each chain that are kept, at least 4.
        thinning: Trajectories from one draw to the next, at least 1.
        target_accept: Acceptance probability that the step size is adapted to, in (0, 1).
        adapt_mass: Whether warm-up adapts a diagonal mass matrix, or only the step size.
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
        InputError: If an argument is out of range, fewer than 2 weights move, the log joint
            is random or not finite at the start, data do not fit the net, or `directory`
            holds another run or a damaged one.

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
