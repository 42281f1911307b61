"""What a Markov chain does in a step: the face that every sampler shows to the driver."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeAlias

from jfractal.typing import Array, Float, KeyArray, Params, Scalar

__all__ = ["COUNTS", "KNOWN", "Kernel", "LogDensity", "Statistics"]

LogDensity: TypeAlias = Callable[[Params], Scalar]
"""``log_joint(weights) -> nats``."""

Statistics: TypeAlias = dict[str, Scalar]
"""What is known of a step, by name."""

COUNTS = ("num_gradients", "divergences")  # which add up from one draw to the next
KNOWN = ("log_joint", *COUNTS)  # of every step


class Kernel(Protocol):
    """The transitions of one chain, as pure functions; the driver vmaps them.

    Whatever is tuned is a part of the state, which counts its steps: warm-up ends by itself. A
    kernel is equal to others that do the same, so that equal calls compile once.

    Attributes:
        statistics: The names of what is known of a step: those of `KNOWN`, and others.
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
            log_joint: What to sample.
            key: Random key.
            start: Weights.
            inverse_mass: A variance for every weight, in the order of `ravel_pytree`.
        """
        ...

    def step(self, log_joint: LogDensity, state: Any) -> tuple[Any, Statistics]:
        """One transition, which may be one of warm-up."""
        ...

    def position(self, state: Any) -> Params:
        """The weights where a chain is."""
        ...
