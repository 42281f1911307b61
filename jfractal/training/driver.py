"""Drives a fit: steps, figures, validations and checkpoints, in their order."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jfractal.errors import DivergenceError, InputError
from jfractal.identity import ByContent
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.method import Method, Start
from jfractal.posterior.posterior import Posterior
from jfractal.training.batches import Batches, is_arrays
from jfractal.training.checkpoint import Checkpoints
from jfractal.training.history import VALIDATION, History
from jfractal.training.interrupts import Interrupts
from jfractal.training.loop import DATA, MEMBERS, Program, check_batch_size
from jfractal.training.progress import Progress
from jfractal.training.sources import Arrays, Stream, as_rows
from jfractal.training.validation import validate
from jfractal.typing import KeyArray

__all__ = ["Driver", "Plan"]

Row = Mapping[str, float]

FAST, SLOW = 0.1, 0.5  # seconds of a dispatch
SAVE_EVERY = 30.0  # seconds from one checkpoint to the next, if no number of steps is given


@dataclass(frozen=True)
class Plan:
    """The arguments of `fit`."""

    num_epochs: int | None
    num_steps: int | None
    batch_size: int | None
    num_data: int | None
    augment: Callable[[KeyArray, Any], Any] | None
    validation: Batch | Callable[[Posterior], Row] | None
    validate_every: int | None
    monitor: str
    patience: int | None
    callbacks: tuple[Callable[[Row], None], ...]
    log_every: int
    directory: Path | None
    checkpoint_every: int | None
    mesh: Mesh | None
    progress: bool | None


class Driver:
    """One fit.

    Args:
        method: What is fitted.
        plan: How.
        data: To what.
        key: Random key.

    Attributes:
        state: The method's state.
        step: Steps taken.
        history: Their figures.
        best_state: The state of the best validation.
        stopped_early: Whether no validation was better for too long.
    """

    def __init__(self, method: Method, plan: Plan, data: Batch | Batches, key: KeyArray):
        self.method, self.plan = method, plan
        self._key_init, key_order, key_steps, self._key_validation = jax.random.split(key, 4)
        _check_mesh(plan.mesh, method)
        about = (ByContent(method), ByContent(plan.augment))
        if is_arrays(data):
            self._examples: Batch | None = (data[0], data[1])  # type: ignore[index]
            num_data = batch_size(self._examples)
            check_batch_size(plan.batch_size, num_data)
            program = Program(*about, plan.batch_size, num_data, plan.mesh)
            self._source: Arrays | Stream = Arrays(program, self._examples, key_order, key_steps)
        else:
            self._examples = None
            program = Program(*about, None, _num_data(data, plan), plan.mesh)
            self._source = Stream(program, data, key_steps, plan.num_steps)  # type: ignore[arg-type]
        per_epoch = self._source.steps_per_epoch
        by_epochs = None if per_epoch is None else per_epoch * (plan.num_epochs or 0)
        self._total = plan.num_steps if plan.num_epochs is None else by_epochs
        self._checkpoints = None
        if plan.directory is not None:
            fingerprint = {
                "method": method.name,
                "key": jax.random.key_data(key).tolist(),
                "batch_size": plan.batch_size,
                "num_data": program.num_data,
            }
            self._checkpoints = Checkpoints(plan.directory, fingerprint)
        self.state: Any = None
        self.step = 0
        self.history = History()
        self.best_state: Any = None
        self.stopped_early = False
        self._best, self._since_best = np.inf, 0
        self._pending: tuple[int, int, Any] | None = None
        self._num_logged = 0

    def run(self, params: Start) -> BaseException | None:
        """Fits from the start, or from the newest checkpoint.

        Returns:
            What interrupted it, or None.
        """
        with Interrupts() as interrupts:
            try:
                self._begin(params)
                self._loop(interrupts)
            except KeyboardInterrupt as interrupt:
                self._flush()
                self._log_steps()
                self._save()
                return interrupt
            finally:
                if self._checkpoints is not None:
                    self._checkpoints.wait()
        return None

    def _begin(self, params: Start) -> None:
        self.state = self.method.init(params, self._key_init)
        self._check_data(params)
        if self._checkpoints is not None:
            template = (self.state, self._tracked(self.state))
            restored = self._checkpoints.restore(template)
            if restored is not None:
                self.step, (self.state, tracked), history = restored
                best, (self._best, self._since_best, has_best) = tracked
                self._best, self._since_best = float(self._best), int(self._since_best)
                self.best_state = best if bool(has_best) else None
                self.history = History(history)
                self._num_logged = len(self.history.get("step", ()))
        self.state = _placed(self.state, self.plan.mesh, self.method)

    def _tracked(self, state: Any) -> Any:
        """What early stopping remembers, as arrays."""
        best = state if self.best_state is None else self.best_state
        if self.plan.validation is None:
            best = ()
        numbers = self._best, self._since_best, self.best_state is not None
        return best, tuple(map(np.float64, numbers))

    def _check_data(self, params: Start) -> None:
        """Looks at all targets before a compiled program hides them; nothing is computed."""
        if self._examples is None:
            return
        x, y = self._examples[0], jax.tree.map(jnp.asarray, self._examples[1])
        variables = jax.eval_shape(self.method.posterior, self.state)
        model, augment, key = self.method.model, self.plan.augment, self._key_init

        def log_likelihood(posterior, x):
            x = x if augment is None else augment(key, x)
            return model.log_likelihood(posterior.sample(key), (x, y))

        jax.eval_shape(log_likelihood, variables, x)

    def _loop(self, interrupts: Interrupts) -> None:
        plan, source = self.plan, self._source
        pace, saved = 1, time.monotonic()
        bar = Progress(
            self.method.name,
            total=self._total,
            done=self.step,
            steps_per_epoch=source.steps_per_epoch,
            visible=plan.progress,
        )
        with bar:
            with bar.phase("compiling"):
                if isinstance(source, Arrays) and not self._is_done():
                    self.state, _ = source.advance(self.state, self.step, self.step)
                    jax.block_until_ready(self.state)
            if self.step and self._validates() and self._last_validation() < self.step:
                self._validate()  # an interrupt came between the step and its validation
            while not self._is_done():
                interrupts.check()
                last = self._next_stop(pace)
                began = time.monotonic()
                self.state, info = source.advance(self.state, self.step, last)
                previous, self._pending = self._pending, (self.step, last, info)
                self.step = last
                self._take(previous, bar)
                is_stop = self._is_stop()
                if is_stop:
                    self._flush(bar)
                pace = self._pace(pace, time.monotonic() - began)
                if self._validates():
                    with bar.phase("validating"):
                        self._validate()
                if self._saves(saved):
                    self._flush(bar)
                    self._save()
                    saved = time.monotonic()
            self._flush(bar)
            if self._checkpoints is not None:
                self._save()

    def _is_done(self) -> bool:
        if self.stopped_early:
            return True
        if self._total is not None:
            return self.step >= self._total
        assert self.plan.num_epochs is not None
        return self._source.epoch(self.step) >= self.plan.num_epochs

    def _next_stop(self, pace: int) -> int:
        """The step at which the next dispatch ends."""
        stops = [self.step + pace, self._source.limit(self.step)]
        if self._total is not None:
            stops.append(self._total)
        every = [self.plan.checkpoint_every if self._checkpoints is not None else None]
        if self.plan.validation is not None:
            every.append(self.plan.validate_every or self._source.steps_per_epoch)
        stops += [(self.step // n + 1) * n for n in every if n is not None]
        return min(stops)

    def _pace(self, pace: int, seconds: float) -> int:
        """Steps of the next dispatch: long enough to hide its cost, short enough to interrupt."""
        if jax.process_count() > 1:
            return 16  # all processes must dispatch the same steps
        if seconds < FAST:
            return min(pace * 2, 4096)
        return max(pace // 2, 1) if seconds > SLOW else pace

    def _is_stop(self) -> bool:
        return self._validates() or self._is_done()

    def _validates(self) -> bool:
        if self.plan.validation is None:
            return False
        if self.plan.validate_every is not None:
            return self.step % self.plan.validate_every == 0 or self._is_done()
        return self._source.ends_epoch(self.step) or self._is_done()

    def _last_validation(self) -> int:
        name = f"{VALIDATION}step"
        return int(self.history[name][-1]) if name in self.history else 0

    def _saves(self, saved: float) -> bool:
        if self._checkpoints is None:
            return False
        if self.plan.checkpoint_every is not None:
            return self.step % self.plan.checkpoint_every == 0
        if jax.process_count() > 1:
            return self._source.ends_epoch(self.step)
        return time.monotonic() - saved > SAVE_EVERY

    def _save(self) -> None:
        if self._checkpoints is None or self.state is None:
            return
        if any(x.is_deleted() for x in jax.tree.leaves(self.state) if isinstance(x, jax.Array)):
            return  # a second interrupt fell into a step
        columns = dict(self.history)
        self._checkpoints.save(self.step, (self.state, self._tracked(self.state)), columns)

    def _flush(self, bar: Progress | None = None) -> None:
        pending, self._pending = self._pending, None
        self._take(pending, bar)

    def _take(self, pending: tuple[int, int, Any] | None, bar: Progress | None) -> None:
        """Reads the figures of steps that have run, while the next ones run."""
        if pending is None:
            return
        first, last, info = pending
        rows = as_rows(info, last - first)
        self._check_finite(rows, first)
        means = {name: x.reshape(len(x), -1).mean(1) for name, x in rows.items()}
        steps = np.arange(first + 1, last + 1)
        columns = {
            "step": steps,
            "epoch": np.array([self._source.epoch(s) for s in steps.tolist()]),
            **means,
        }
        self.history.add(columns)
        self._log_steps()
        if bar is not None:
            bar.update(last, {name: float(x[-1]) for name, x in columns.items()})

    def _log_steps(self) -> None:
        """Rows of the steps that have none yet: a callback may have been interrupted."""
        steps = self.history["step"] if "step" in self.history else np.zeros(0, int)
        names = [name for name in self.history if not name.startswith(VALIDATION)]
        for i in range(self._num_logged, len(steps)):
            self._num_logged = i + 1
            if steps[i] % self.plan.log_every == 0:
                self._log({name: self.history[name][i].item() for name in names})

    def _log(self, row: Row) -> None:
        for callback in self.plan.callbacks:
            callback(row)

    def _validate(self) -> None:
        posterior = self.method.posterior(self.state)
        if callable(self.plan.validation):
            figures = dict(self.plan.validation(posterior))
        else:
            assert self.plan.validation is not None
            model = self.method.model
            figures = validate(model, posterior, self.plan.validation, self._key_validation)
        row = {"step": self.step, "epoch": self._source.epoch(self.step)}
        self.history.add_validation({**row, **figures})
        self._log({**row, **{f"{VALIDATION}{name}": value for name, value in figures.items()}})
        self._remember(figures)

    def _remember(self, figures: Row) -> None:
        """Keeps the best state, and stops where there has been none for too long."""
        if self.plan.monitor not in figures:
            if self.plan.patience is not None:
                raise InputError(
                    f"`monitor` must be one of the figures {list(figures)}, got "
                    f"{self.plan.monitor!r}"
                )
            return
        value = float(figures[self.plan.monitor])
        if value < self._best:
            self._best, self._since_best = value, 0
            self.best_state = jax.tree.map(jnp.copy, self.state)
        else:
            self._since_best += 1
            self.stopped_early = self.plan.patience == self._since_best

    def _check_finite(self, rows: Mapping[str, np.ndarray], first: int) -> None:
        bad = {name: ~np.isfinite(x.reshape(len(x), -1)) for name, x in rows.items()}
        if not any(x.any() for x in bad.values()):
            return
        row = min(int(np.argmax(x.any(1))) for x in bad.values() if x.any())
        parts = [name for name, x in bad.items() if x[row].any()]
        name = next((part for part in parts if part != "loss"), parts[0])
        members = np.flatnonzero(bad[name][row]) if rows[name].ndim > 1 else []
        of = f" of members {', '.join(map(str, members))}" if len(members) else ""
        value = rows[name].reshape(len(rows[name]), -1)[row][bad[name][row]][0]
        raise DivergenceError(
            f"`{name}`{of} is {value} at step {first + row + 1} of {self.method.name}. The data "
            "are finite numbers"
            + (", before `augment`" if self.plan.augment is not None else "")
            + ". Try a smaller learning rate, one that warms up, or gradient clipping "
            "(`optax.clip_by_global_norm`); earlier checkpoints are kept"
        )


def _num_data(data: Any, plan: Plan) -> int:
    if plan.batch_size is not None:
        raise InputError("`batch_size` belongs to arrays; an iterable has batches of its own")
    if not (callable(data) or hasattr(data, "__iter__")):
        raise InputError(
            "`data` must be inputs and targets (x, y), an iterable of such batches, or a function "
            f"of the epoch that returns one, got a {type(data).__name__}"
        )
    if plan.num_data is not None:
        return plan.num_data
    dataset = getattr(data, "dataset", None)
    if dataset is None or not hasattr(dataset, "__len__"):
        raise InputError(
            "`num_data` must be given for an iterable: the number of examples it stands for, by "
            "which the prior is weighted against the likelihood"
        )
    return len(dataset)


def _check_mesh(mesh: Mesh | None, method: Method) -> None:
    if mesh is None:
        return
    if not set(mesh.axis_names) <= {DATA, MEMBERS}:
        raise InputError(
            f"`mesh` must have no axes but `{DATA}` and `{MEMBERS}`, got {mesh.axis_names}"
        )
    if MEMBERS in mesh.axis_names and (method.num_members or 1) % mesh.shape[MEMBERS]:
        raise InputError(
            f"the axis `{MEMBERS}` of `mesh` must divide the members of an ensemble, "
            f"got {mesh.shape[MEMBERS]} devices for {method.name}"
        )


def _placed(state: Any, mesh: Mesh | None, method: Method) -> Any:
    """The state on all devices; that of an ensemble cut by its members."""
    # Its buffers will be donated: neither the caller's weights may be, nor one buffer twice.
    state = jax.tree.map(jnp.copy, state)
    if mesh is None:
        return jax.device_put(state)
    by_member = method.num_members is not None and MEMBERS in mesh.axis_names
    return jax.device_put(state, NamedSharding(mesh, P(MEMBERS) if by_member else P()))
