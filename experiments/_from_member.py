"""Many methods for the price of one: all go on from the first member of an ensemble."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import optax

import jfractal as jf
from experiments._methods import lifted
from experiments.ranges import Count, Positive, Precision
from experiments.rows import slug
from experiments.run import Run
from experiments.settings import Settings
from jfractal.typing import Array, KeyArray, Params

METHODS = ("ensemble", "MAP", "mean field", "SWAG", "SGHMC", "SMILE")


@dataclass(frozen=True)
class FitConfig(Settings):
    """Training of the members, and what follows from the first of them."""

    num_members: Count = 3  # Members of the ensemble.
    num_epochs: Count = 12  # Epochs of each member.
    num_epochs_after: Count = 6  # Epochs of every other method, from the first member on.
    batch_size: Count = 64  # Images in a step.
    learning_rate: Positive = 1e-3  # Of Adam, falling to 0 along a cosine.
    precision: Precision = "float32"  # In which the nets compute while they are trained.
    scale: Positive = 0.01  # Initial standard deviation of every weight of the mean field.
    swag_rate: Positive = 0.05  # Constant learning rate of SWAG's gradient descent.
    sghmc_rate: Positive = 0.02  # Learning rate of SGHMC at the start of each cycle, a cosine.
    num_samples: Count = 8  # Draws of the weights for a prediction, each the end of a cycle.


def num_passes(config: FitConfig, num_train: int, num_test: int) -> float:
    """Forward passes of images through a net that all methods cost, their predictions included.

    A gradient is worth three; by flipout six, for it convolves twice. SMILE takes two more in 0.6
    of its warm-up, which is half of its steps.
    """
    members = 3 * config.num_members * config.num_epochs
    others = (6 + 3 + 3 + 3.6) * config.num_epochs_after
    draws = config.num_members + 1 + 4 * config.num_samples
    return (members + others) * num_train + draws * num_test


class Found(NamedTuple):
    """A posterior, draws of it for a prediction, and what it took, its start included."""

    posterior: Any
    num_samples: int
    gradients: float
    seconds: float


@dataclass(frozen=True)
class Fits:
    """The posteriors of one model.

    Attributes:
        config: The settings.
        run: Keeps the checkpoints.
        name: Of the net.
        model: Net, prior and likelihood.
        start: Draws weights to start from.
        data: Inputs and labels.
        key: Random key.
    """

    config: FitConfig
    run: Run
    name: str
    model: jf.Model
    start: Callable[[KeyArray], Params]
    data: tuple[Array, Array]
    key: KeyArray

    def of(self, method: str) -> Found:
        """The posterior by a method."""
        if method == "ensemble":
            return self._members
        return self._member if method == "MAP" else self._from_member(method)

    @cached_property
    def _members(self) -> Found:
        """Most probable weights from several starts."""
        point = jf.maximum_a_posteriori(self.model, self._adam(self.config.num_epochs))
        method = jf.ensemble(point, self.config.num_members)
        return self._train(method, self.start, "ensemble", self.config.num_epochs)

    @property
    def _member(self) -> Found:
        """The first of them."""
        every, number = self._members, self.config.num_members
        one = every.posterior.member(0.0)
        return Found(one, 1, every.gradients / number, every.seconds / number)

    def _from_member(self, method: str) -> Found:
        before, fit = self._member, self.config
        begin, steps = before.posterior.mean(), self._num_steps(fit.num_epochs_after)
        cycle = max(steps // fit.num_samples, 1)
        if method == "mean field":
            of = jf.variational(self.model, self._adam(fit.num_epochs_after))
            begin = lifted(begin, fit.scale, "flipout")
        elif method == "SWAG":
            rank = max(fit.num_samples, 2)
            of = jf.swag(self.model, optax.sgd(fit.swag_rate), thinning=cycle, rank=rank)
        elif method == "SGHMC":
            rate = jf.cosine_cycles(fit.sghmc_rate, cycle)
            options = {"num_draws": fit.num_samples, "thinning": cycle}
            of = jf.sghmc(self.model, learning_rate=rate, **options)
        else:
            options = {"num_draws": fit.num_samples, "thinning": max(cycle // 2, 1)}
            of = jf.smile(self.model, num_warmup=max(steps // 2, 1), **options)
        found = self._train(of, begin, method, fit.num_epochs_after)
        gradients, seconds = before.gradients + found.gradients, before.seconds + found.seconds
        return Found(found.posterior, fit.num_samples, gradients, seconds)

    def _num_steps(self, num_epochs: int) -> int:
        return num_epochs * (len(self.data[1]) // self.config.batch_size)

    def _adam(self, num_epochs: int) -> optax.GradientTransformation:
        rate = self.config.learning_rate
        return optax.adam(optax.cosine_decay_schedule(rate, self._num_steps(num_epochs)))

    def _train(self, method: jf.Method, begin: Any, name: str, num_epochs: int) -> Found:
        began, size = time.perf_counter(), self.config.batch_size
        posterior = self.run.fit(
            method,
            begin,
            self.data,
            jax.random.fold_in(self.key, METHODS.index(name)),
            name=slug(f"{self.name} {name}"),
            num_epochs=num_epochs,
            batch_size=size,
        ).posterior
        seconds = time.perf_counter() - began
        examples = self._num_steps(num_epochs) * size * (method.num_members or 1)
        number = self.config.num_members  # of draws of an ensemble; of others see `_from_member`
        return Found(posterior, number, examples / len(self.data[1]), seconds)
