"""The training loop: a jitted step, a progress bar, checkpoints, and a stop at the first NaN."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm.auto import tqdm

from jfractal.errors import DivergenceError, InputError
from jfractal.training.checkpoint import Checkpoints
from jfractal.training.drop_path import DropPath
from jfractal.training.objective import Objective
from jfractal.training.state import TrainState
from jfractal.typing import Array, Int, Scalar

__all__ = ["Trainer", "count_steps"]

Row = Mapping[str, Any]


def count_steps(num_images: int, batch_size: int) -> int:
    """Full batches in an epoch.

    Raises:
        InputError: If there is none.
    """
    if not 1 <= batch_size <= num_images:
        raise InputError(
            f"`batch_size` must be between 1 and the number of training images, {num_images}, "
            f"got {batch_size}"
        )
    return num_images // batch_size


@dataclass(frozen=True)
class Trainer:
    """Minimises an objective over a data set that lies on the device.

    Attributes:
        objective: What to minimise.
        optimizer: From optax.
        drop_path: Draws the route of every batch.
        num_epochs: Passes over the data.
        batch_size: Images in a batch; a last batch that is not full is left out of its epoch.
        seed: Determines the order of the data, the routes and all random keys of the steps.
        log_every: Steps between two rows of metrics.
        checkpoints: Where to save; nothing is saved if left out.
    """

    objective: Objective
    optimizer: optax.GradientTransformation
    drop_path: DropPath
    num_epochs: int
    batch_size: int
    seed: int
    log_every: int = 50
    checkpoints: Checkpoints | None = None

    def fit(
        self,
        state: TrainState,
        images: Array | np.ndarray,
        labels: Array | np.ndarray,
        *,
        log: Callable[[Row], None] = lambda row: None,
        evaluate: Callable[[TrainState], Row] = lambda state: {},
    ) -> TrainState:
        """Trains from `state` to the last epoch.

        The trajectory depends on the seed and on `state` only, so a run continued from a
        checkpoint ends where an uninterrupted one does. A checkpoint is saved after each epoch,
        and when the run is interrupted.

        Args:
            state: Where to start or to continue. Its buffers are donated.
            images: All images, "n height width channels", any dtype.
            labels: Their labels, "n".
            log: Receives rows of metrics; each has ``step`` and ``epoch``, those of a training
                step also ``column`` (0 for the joined net).
            evaluate: Figures of a state, to log after each epoch.

        Returns:
            The last state.

        Raises:
            InputError: If the numbers of epochs or of images in a batch are out of range.
            DivergenceError: At the first loss that is not finite; earlier checkpoints stay.
        """
        steps_per_epoch = count_steps(len(images), self.batch_size)
        if self.num_epochs < 1:
            raise InputError(f"`num_epochs` must be at least 1, got {self.num_epochs}")
        images, labels = jnp.asarray(images), jnp.asarray(labels)
        update = jax.jit(self._update, static_argnames="route", donate_argnums=0)
        first, total = int(state.step), steps_per_epoch * self.num_epochs
        batches: Int[np.ndarray, "steps batch"] = np.empty((0, 0), int)
        previous: tuple[int, int | None, dict[str, Scalar]] | None = None
        with tqdm(initial=first, total=total, unit_scale=self.batch_size, unit=" images") as bar:
            try:
                for step in range(first, total):
                    epoch, position = divmod(step, steps_per_epoch)
                    if position == 0 or step == first:
                        batches = self._batches(epoch, len(images), steps_per_epoch)
                    batch = batches[position]
                    route = self.drop_path.route(self.seed, step)
                    state, metrics = update(state, images, labels, batch, route=route)
                    # The metrics of a step are read while the next one runs.
                    self._report(previous, steps_per_epoch, bar, log)
                    previous = step + 1, route, metrics
                    if position == steps_per_epoch - 1:
                        self._report(previous, steps_per_epoch, bar, log)
                        previous = None
                        log({"step": step + 1, "epoch": epoch + 1, **evaluate(state)})
                        self._save(state)
            except KeyboardInterrupt:
                self._save_interrupted(state, previous)
                raise
        return state

    def _batches(self, epoch: int, num_images: int, steps: int) -> Int[np.ndarray, "steps batch"]:
        """Which images are in which batch of an epoch."""
        order = np.random.default_rng((self.seed, epoch)).permutation(num_images)
        return order[: steps * self.batch_size].reshape(steps, self.batch_size)

    def _update(
        self, state: TrainState, images: Array, labels: Array, batch: Array, route: int | None
    ) -> tuple[TrainState, dict[str, Scalar]]:
        key = jax.random.fold_in(jax.random.key(self.seed), state.step)

        def objective(params):
            loss = self.objective(
                params, state.variables, (images[batch], labels[batch]), key, route
            )
            return loss.value, loss

        gradient, loss = jax.grad(objective, has_aux=True)(state.params)
        updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = replace(
            state,
            step=state.step + 1,
            params=params,
            variables=loss.variables,
            opt_state=opt_state,
        )
        return state, loss.metrics

    def _report(self, previous: Any, steps_per_epoch: int, bar: tqdm, log: Callable) -> None:
        if previous is None:
            return
        step, route, metrics = previous
        values = {name: float(value) for name, value in metrics.items()}
        for name, value in values.items():
            if not np.isfinite(value):
                raise DivergenceError(
                    f"`{name}` is {value} at step {step}: try a smaller learning rate, a longer "
                    "warm-up, or gradient clipping; the checkpoints of earlier epochs are kept"
                )
        bar.update()
        if step % self.log_every == 0:
            shown = {name: f"{value:.3g}" for name, value in values.items()}
            bar.set_postfix(shown, refresh=False)
            log({"step": step, "epoch": step / steps_per_epoch, "column": route or 0, **values})

    def _save(self, state: TrainState) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save(int(state.step), state)

    def _save_interrupted(self, state: TrainState, previous: Any) -> None:
        """Saves unless the interrupt fell between the two halves of an update, or after a NaN."""
        leaves = jax.tree.leaves(state)
        if any(leaf.is_deleted() for leaf in leaves):
            return
        if previous is None or np.isfinite([float(v) for v in previous[2].values()]).all():
            self._save(state)
