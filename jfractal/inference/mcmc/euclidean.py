"""Transitions of Hamiltonian dynamics, by NumPyro."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from numpyro.infer import HMC

from jfractal.inference.mcmc.kernel import KNOWN, LogDensity, Statistics
from jfractal.typing import Array, Float, KeyArray, Params

__all__ = ["Hamiltonian"]


@dataclass(frozen=True)
class Hamiltonian:
    """Transitions of a NumPyro kernel.

    Attributes:
        kind: The class of the kernel.
        num_warmup: Number of warm-up steps, in which it adapts.
        options: Its arguments by name.
    """

    kind: type[HMC]
    num_warmup: int
    options: tuple[tuple[str, Any], ...]
    statistics: ClassVar[tuple[str, ...]] = (*KNOWN, "energy", "accept_prob")

    def init(
        self,
        log_joint: LogDensity,
        key: KeyArray,
        start: Params,
        inverse_mass: Float[Array, " weights"] | None,
    ) -> Any:
        """The initial NumPyro state of a chain."""
        return self._kernel(log_joint, inverse_mass).init(key, self.num_warmup, start)

    def step(self, log_joint: LogDensity, state: Any) -> tuple[Any, Statistics]:
        """Runs one trajectory."""
        kernel = self._kernel(log_joint, None)
        # What takes a step is made by `init`, the rest of which is not needed again.
        jax.eval_shape(
            lambda key, start: kernel.init(key, self.num_warmup, start), state.rng_key, state.z
        )
        state = kernel.sample(state, (), {})
        return state, {
            "log_joint": -state.potential_energy,
            "energy": state.energy,
            "accept_prob": state.accept_prob,
            "num_gradients": state.num_steps,
            "divergences": state.diverging.astype(state.num_steps.dtype),
        }

    def position(self, state: Any) -> Params:
        """The weights in a state."""
        return state.z

    def _kernel(self, log_joint: LogDensity, inverse_mass: Any) -> HMC:
        return self.kind(
            potential_fn=lambda w: -log_joint(w),
            inverse_mass_matrix=inverse_mass,
            **dict(self.options),
        )
