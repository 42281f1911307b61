"""The transitions of a Markov chain: the interface between every sampler and the driver."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeAlias

from jfractal.typing import Array, Float, KeyArray, Params, Scalar

__all__ = ["COUNTS", "KNOWN", "Kernel", "LogDensity", "Statistics"]

LogDensity: TypeAlias = Callable[[Params], Scalar]
"""``log_joint(weights) -> nats``."""

Statistics: TypeAlias = dict[str, Scalar]
"""Statistics of a step, by name."""

COUNTS = ("num_gradients", "divergences")  # which add up from one draw to the next
KNOWN = ("log_joint", *COUNTS)  # of every step


class Kernel(Protocol):
    """The transitions of one chain, as pure functions; the driver vmaps them.

    Everything that is tuned is part of the state, which also counts its steps, so warm-up ends by
    itself. Kernels that do the same are equal, so that equal calls compile once.

    Attributes:
        statistics: Names of the statistics of a step: those of `KNOWN`, and others.
    """

    statistics: ClassVar[tuple[str, ...]]

    def init(
        self,
        log_joint: LogDensity,
        key: KeyArray,
        start: Params,
        inverse_mass: Float[Array, " weights"] | None,
    ) -> Any:
        """The state of a chain at its start.

        Args:
            log_joint: Log density to sample.
            key: Random key.
            start: Initial weights.
            inverse_mass: A variance for every weight, in the order of `ravel_pytree`.
        """
        ...

    def step(self, log_joint: LogDensity, state: Any) -> tuple[Any, Statistics]:
        """One transition, which may be one of warm-up."""
        ...

    def position(self, state: Any) -> Params:
        """The weights in a state."""
        ...
