"""The arguments of `fit`, checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from jfractal.arguments import check_flags, check_functions, check_type, described
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.batch import Batch
from jfractal.posterior.posterior import Posterior
from jfractal.typing import KeyArray

__all__ = ["Callback", "Plan", "Row"]

Row = Mapping[str, float]
"""Metrics by name."""

Callback = Callable[[Row], None]


@dataclass(frozen=True)
class Plan:
    """The keywords of `fit`.

    Raises:
        InputError: If a keyword is out of range.
    """

    num_epochs: int | None
    num_steps: int | None
    batch_size: int | None
    num_data: int | None
    augment: Callable[[KeyArray, Any], Any] | None
    validation: Batch | Callable[[Posterior], Row] | None
    validate_every: int | None
    monitor: str | None
    patience: int | None
    callbacks: tuple[Callback, ...]
    log_every: int
    directory: Path | None
    checkpoint_every: int | None
    mesh: Mesh | None
    progress: bool | None

    def __post_init__(self):
        if (self.num_epochs is None) == (self.num_steps is None):
            raise InputError(
                f"give one of `num_epochs` and `num_steps`, got {self.num_epochs} and "
                f"{self.num_steps}"
            )
        check_counts(log_every=self.log_every)
        names = ("num_epochs", "num_steps", "num_data")
        names += ("validate_every", "patience", "checkpoint_every")
        given = {name: getattr(self, name) for name in names}
        check_counts(**{name: count for name, count in given.items() if count is not None})
        for name in ("patience", "monitor", "validate_every"):
            if getattr(self, name) is not None and self.validation is None:
                raise InputError(f"`{name}` needs `validation`, whose metrics it uses")
        if not all(map(callable, self.callbacks)):
            raise InputError(
                f"`callbacks` must be functions of a row, got {described(self.callbacks)}"
            )
        if self.augment is not None:
            check_functions(augment=self.augment)
        if self.monitor is not None:
            check_type("monitor", self.monitor, str, "the name of a figure")
        if self.progress is not None:
            check_flags(progress=self.progress)
        if self.mesh is not None:
            check_type("mesh", self.mesh, Mesh, "a `jax.sharding.Mesh`")
