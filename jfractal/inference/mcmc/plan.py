"""The arguments that all samplers share, checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import jax

from jfractal.arguments import (
    as_path,
    check_choice,
    check_flags,
    check_functions,
    check_positive,
    described,
)
from jfractal.counts import check_counts
from jfractal.errors import InputError
from jfractal.inference.mcmc.starts import Starts
from jfractal.posterior.gaussian import Where
from jfractal.typing import Params

__all__ = ["Device", "Plan", "Precision"]

Precision = Literal["float32", "float64"]
"""Precision in which chains move: ``"float32"``, or ``"float64"`` if energies need it."""
Device: TypeAlias = Any
"""A `jax.Device`."""


@dataclass(frozen=True)
class Plan:
    """The starts, number and length of chains, and the draws to keep of them; see `nuts`."""

    starts: Starts
    where: Where
    num_chains: int
    num_warmup: int
    num_draws: int
    thinning: int
    inverse_mass: Params | None
    temperature: float
    batch_size: int | None
    precision: Precision
    directory: str | Path | None
    devices: Sequence[Device] | None
    progress: bool | None

    def __post_init__(self):
        check_counts(num_chains=self.num_chains, num_warmup=self.num_warmup, thinning=self.thinning)
        check_counts(4, num_draws=self.num_draws)  # the diagnostics halve the chains
        if self.batch_size is not None:
            check_counts(batch_size=self.batch_size)
        check_positive(temperature=self.temperature)
        check_choice("precision", self.precision, get_args(Precision))
        check_functions(where=self.where)
        if self.directory is not None:
            as_path("directory", self.directory)
        if self.progress is not None:
            check_flags(progress=self.progress)
        if self.devices is not None:
            self._check_devices(self.devices)

    def _check_devices(self, devices: Any) -> None:
        is_sequence = isinstance(devices, Sequence) and devices
        if not is_sequence or not all(isinstance(d, jax.Device) for d in devices):
            raise InputError(
                f"`devices` must be a list of some of `jax.devices()`, got {described(devices)}"
            )
        if self.num_chains % len(devices):
            raise InputError(
                f"`num_chains` must be a multiple of the number of `devices`, got "
                f"{self.num_chains} and {len(devices)}"
            )
