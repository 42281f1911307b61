"""Hamiltonian Monte Carlo, by NumPyro: the reference posterior."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import HMC, MCMC, NUTS

from jfractal.errors import InputError
from jfractal.metrics.convergence import ess, rhat
from jfractal.posterior.samples import Samples
from jfractal.typing import Apply, Array, Float, KeyArray, Params, Scalar, Variables

__all__ = ["Chains", "hmc", "nuts"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Chains:
    """Draws of Markov chains: a posterior like any other, and how far to trust it.

    Attributes:
        params: The tree of weights with leading axes "chains draws".
        diagnostics: ``rhat`` and ``ess`` of the log joint (rank-normalised split R-hat, bulk
            effective sample size), ``divergences`` (their number after warm-up), ``accept_prob``
            (mean), ``num_gradients`` (leapfrog steps of all chains after warm-up).
    """

    params: Params
    diagnostics: dict[str, float]

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


def nuts(
    log_joint: Callable[[Params], Scalar],
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    num_chains: int = 4,
    num_warmup: int = 500,
    num_samples: int = 500,
    target_accept: float = 0.8,
    max_tree_depth: int = 10,
    progress_bar: bool = False,
) -> Chains:
    """Samples ``p(w | D)`` with the No-U-Turn sampler, chains vectorised in one program.

    Args:
        log_joint: Function of a tree of weights, in nats, see `LogJoint`. It must be
            deterministic, over the full data.
        init: Draws the start of a chain; chains should start far apart, e.g. at
            ``lambda key: net.init(key, x)["params"]``.
        key: Random key.
        num_chains: Number of chains, at least 1.
        num_warmup: Steps of each chain to adapt step size and mass matrix, at least 1.
        num_samples: Draws of each chain, at least 4 (the diagnostics halve the chains).
        target_accept: Acceptance probability that the step size is adapted to, in (0, 1).
        max_tree_depth: Bound on the depth of a trajectory: at most 2^depth gradients.
        progress_bar: Whether to show one.

    Returns:
        `Chains`.

    Raises:
        InputError: If an argument is out of range, or the log joint is not finite at the start.

    Source: Hoffman & Gelman, JMLR 2014; Phan et al., NumPyro, 2019.
    """
    _check_fraction(target_accept)
    kernel = NUTS(
        potential_fn=lambda w: -log_joint(w),
        target_accept_prob=target_accept,
        max_tree_depth=max_tree_depth,
    )
    return _run(kernel, log_joint, init, key, num_chains, num_warmup, num_samples, progress_bar)


def hmc(
    log_joint: Callable[[Params], Scalar],
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    *,
    trajectory_length: float,
    num_chains: int = 4,
    num_warmup: int = 500,
    num_samples: int = 500,
    target_accept: float = 0.8,
    progress_bar: bool = False,
) -> Chains:
    """Samples ``p(w | D)`` with trajectories of fixed length.

    Args:
        log_joint: As for `nuts`.
        init: As for `nuts`.
        key: Random key.
        trajectory_length: Step size times leapfrog steps, above 0, in the units of the adapted
            mass matrix, in which the posterior has a standard deviation of about 1: π/2 takes a
            Gaussian from its centre to its shell.
        num_chains: As for `nuts`.
        num_warmup: As for `nuts`.
        num_samples: As for `nuts`.
        target_accept: As for `nuts`.
        progress_bar: As for `nuts`.

    Returns:
        `Chains`.

    Raises:
        InputError: If an argument is out of range, or the log joint is not finite at the start.

    Source: Neal, "MCMC using Hamiltonian dynamics", 2011.
    """
    _check_fraction(target_accept)
    if not trajectory_length > 0:
        raise InputError(f"`trajectory_length` must be above 0, got {trajectory_length}")
    kernel = HMC(
        potential_fn=lambda w: -log_joint(w),
        target_accept_prob=target_accept,
        trajectory_length=trajectory_length,
    )
    return _run(kernel, log_joint, init, key, num_chains, num_warmup, num_samples, progress_bar)


def _check_fraction(target_accept: float) -> None:
    if not 0 < target_accept < 1:
        raise InputError(f"`target_accept` must be between 0 and 1, got {target_accept}")


def _run(
    kernel: HMC,
    log_joint: Callable[[Params], Scalar],
    init: Callable[[KeyArray], Params],
    key: KeyArray,
    num_chains: int,
    num_warmup: int,
    num_samples: int,
    progress_bar: bool,
) -> Chains:
    if num_chains < 1 or num_warmup < 1 or num_samples < 4:
        raise InputError(
            "`num_chains` and `num_warmup` must be at least 1 and `num_samples` at least 4, "
            f"got {num_chains}, {num_warmup} and {num_samples}"
        )
    key_init, key_run = jax.random.split(key)
    starts = jax.vmap(init)(jax.random.split(key_init, num_chains))
    values = jax.lax.map(log_joint, starts)
    if not jnp.isfinite(values).all():
        raise InputError(
            f"`log_joint` must be finite where the chains start, got {np.asarray(values)}; "
            "start closer to the prior's centre, or look for a division by zero in the model"
        )
    mcmc = MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        chain_method="vectorized",
        progress_bar=progress_bar,
    )
    one_start = starts if num_chains > 1 else jax.tree.map(lambda x: x[0], starts)
    fields = ("potential_energy", "diverging", "accept_prob", "num_steps")
    mcmc.run(key_run, init_params=one_start, extra_fields=fields)
    extra = {k: np.asarray(v) for k, v in mcmc.get_extra_fields(group_by_chain=True).items()}
    diagnostics = {
        "rhat": float(rhat(extra["potential_energy"])),
        "ess": float(ess(extra["potential_energy"])),
        "divergences": float(extra["diverging"].sum()),
        "accept_prob": float(extra["accept_prob"].mean()),
        "num_gradients": float(extra["num_steps"].sum()),
    }
    return Chains(mcmc.get_samples(group_by_chain=True), diagnostics)
