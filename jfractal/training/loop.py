"""The training loop: a jitted step, a progress bar, checkpoints, and a stop at the first NaN."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from tqdm.auto import tqdm

from jfractal import ops
from jfractal.errors import DivergenceError, InputError
from jfractal.training.checkpoint import Checkpoints
from jfractal.training.drop_path import DropPath
from jfractal.training.objective import Objective
from jfractal.training.state import TrainState
from jfractal.typing import Array, Int, PyTree, Scalar

__all__ = ["Trainer", "count_steps"]

Row = Mapping[str, Any]

DEVICE = "device"  # the axis over which a batch is split


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
        num_devices: Devices that share every batch, in equal parts, and average their gradients.
            Each takes batch statistics of its own part and makes its own random draws, so a
            trajectory belongs to a number of devices.
    """

    objective: Objective
    optimizer: optax.GradientTransformation
    drop_path: DropPath
    num_epochs: int
    batch_size: int
    seed: int
    log_every: int = 50
    checkpoints: Checkpoints | None = None
    num_devices: int = 1

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
            The last state, on the first device.

        Raises:
            InputError: If the numbers of epochs, of images in a batch, of labels or of devices are
                out of range.
            DivergenceError: At the first loss that is not finite; earlier checkpoints stay.
        """
        steps_per_epoch = count_steps(len(images), self.batch_size)
        if len(labels) != len(images):
            raise InputError(
                f"`labels` must be as many as `images`, {len(images)}, got {len(labels)}"
            )
        if self.num_epochs < 1:
            raise InputError(f"`num_epochs` must be at least 1, got {self.num_epochs}")
        mesh = self._mesh()
        everywhere = NamedSharding(mesh, P())
        state, images, labels = jax.device_put((state, images, labels), everywhere)
        update = ops.jit(partial(self._update, mesh), static_argnames="route", donate_argnums=0)
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
                    self._report(previous, steps_per_epoch, labels, bar, log)
                    previous = step + 1, route, metrics
                    if position == steps_per_epoch - 1:
                        self._report(previous, steps_per_epoch, labels, bar, log)
                        previous = None
                        here = _on_first_device(state)
                        log({"step": step + 1, "epoch": epoch + 1, **evaluate(here)})
                        self._save(here)
            except KeyboardInterrupt:
                self._save_interrupted(state, previous)
                raise
        return _on_first_device(state)

    def _mesh(self) -> Mesh:
        count = jax.device_count()
        if not (1 <= self.num_devices <= count and self.batch_size % self.num_devices == 0):
            raise InputError(
                f"`num_devices` must be between 1 and {count}, all there are, and divide the "
                f"`batch_size` {self.batch_size}, got {self.num_devices}"
            )
        return Mesh(jax.devices()[: self.num_devices], (DEVICE,))

    def _batches(self, epoch: int, num_images: int, steps: int) -> Int[np.ndarray, "steps batch"]:
        """Which images are in which batch of an epoch."""
        order = np.random.default_rng((self.seed, epoch)).permutation(num_images)
        return order[: steps * self.batch_size].reshape(steps, self.batch_size)

    def _update(
        self,
        mesh: Mesh,
        state: TrainState,
        images: Array,
        labels: Array,
        batch: Array,
        route: int | None,
    ) -> tuple[TrainState, dict[str, Scalar]]:
        @partial(
            jax.shard_map,
            mesh=mesh,
            in_specs=(P(), P(), P(), P(DEVICE)),
            out_specs=P(),
            check_vma=False,  # else `grad` would sum over devices by itself
        )
        def averages(state: TrainState, images: Array, labels: Array, batch: Array):
            step_key = jax.random.fold_in(jax.random.key(self.seed), state.step)
            key = jax.random.fold_in(step_key, jax.lax.axis_index(DEVICE))

            def objective(params):
                part = images[batch], labels[batch]
                loss = self.objective(params, state.variables, part, key, route, state.step)
                return loss.value, loss

            gradient, loss = jax.grad(objective, has_aux=True)(state.params)
            return _mean_over_devices((gradient, loss.variables, loss.metrics))

        gradient, variables, metrics = averages(state, images, labels, batch)
        updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.params)
        state = replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            variables=variables,
            opt_state=opt_state,
        )
        return state, metrics

    def _report(
        self, previous: Any, steps_per_epoch: int, labels: Any, bar: tqdm, log: Callable
    ) -> None:
        if previous is None:
            return
        step, route, metrics = previous
        values = {name: float(value) for name, value in metrics.items()}
        for name, value in values.items():
            if not np.isfinite(value):
                raise DivergenceError(
                    f"`{name}` is {value} at step {step}: try a smaller learning rate, a longer "
                    "warm-up, or gradient clipping, unless the net has no output for some label "
                    f"(they go from {labels.min()} to {labels.max()}); the checkpoints of earlier "
                    "epochs are kept"
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
            self._save(_on_first_device(state))


def _mean_over_devices(tree: PyTree) -> PyTree:
    """Counters, which are not averaged, are equal on all devices."""
    return jax.tree.map(
        lambda x: jax.lax.pmean(x, DEVICE) if jnp.issubdtype(x.dtype, jnp.inexact) else x, tree
    )


def _on_first_device(state: TrainState) -> TrainState:
    return jax.device_put(state, jax.devices()[0])
