"""Runs a fit: steps, metrics, validations and checkpoints, in their order."""

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jfractal.arguments import check_type, naming
from jfractal.errors import DivergenceError
from jfractal.forked import check_not_forked
from jfractal.inference.batch import Batch, batch_size
from jfractal.inference.method import Method, Start
from jfractal.interrupts import Interrupts
from jfractal.out_of_memory import out_of_memory
from jfractal.posterior.posterior import Posterior
from jfractal.progress import Progress
from jfractal.training.batches import Batches, as_arrays
from jfractal.training.best import Best
from jfractal.training.checkpoint import Checkpoints
from jfractal.training.devices import check_mesh, gathered, placed, state_spec
from jfractal.training.divergence import check_figures, check_posterior
from jfractal.training.history import History
from jfractal.training.loop import Keys, data_check
from jfractal.training.plan import Plan, Row
from jfractal.training.report import Report, Unread
from jfractal.training.sources import source_of
from jfractal.training.validation import validate
from jfractal.typing import KeyArray

__all__ = ["Driver"]

FAST, SLOW = 0.1, 0.5  # seconds of a dispatch
SAVE_EVERY = 30.0  # seconds from one checkpoint to the next, if no number of steps is given
LOWER = (
    "lower `batch_size`, the `num_samples` of the method or the members of an ensemble, use "
    "`remat` in the net, or spread the fit over a `mesh`"
)
STEPS_IN_STEP = 16  # of a dispatch of several processes, which must not go by their clocks


class Driver:
    """One run of `fit`.

    Args:
        method: The method to fit.
        plan: The other arguments of `fit`.
        data: The data to fit it to.
        key: Random key.

    Attributes:
        state: State of the method.
        step: Number of steps taken.
        report: Metrics of these steps.
        best: The best state.
    """

    def __init__(self, method: Method, plan: Plan, data: Batch | Batches, key: KeyArray):
        check_not_forked()
        self.method, self.plan = method, plan
        check_mesh(plan.mesh, method)
        self._keys = Keys.of(key)
        self._source = source_of(method, plan, data, self._keys)
        about = {
            "method": method.name,
            "key": jax.random.key_data(key).tolist(),
            "batch_size": plan.batch_size,
            "num_data": self._source.program.num_data,
        }
        self._checkpoints = Checkpoints(plan.directory, about) if plan.directory else None
        self._progress = Progress(method.name, visible=plan.progress)
        self.report = Report(plan.callbacks, plan.log_every)
        self.best = Best(plan.monitor, plan.patience)
        self.state: Any = None
        self.step = self._first_step = 0
        self._unread: Unread | None = None
        self._pace, self._saved = 1, time.monotonic()

    def run(self, params: Start) -> BaseException | None:
        """Fits from the start, or from the newest checkpoint.

        Returns:
            The exception that interrupted the fit, or None.
        """
        interrupts = Interrupts()
        try:
            with interrupts, ExitStack() as stack:
                stack.enter_context(out_of_memory("a step", LOWER))
                if self._checkpoints is not None:
                    stack.enter_context(self._checkpoints)
                stack.callback(self._source.close)
                stack.callback(self._progress.close)
                self._work(params, interrupts)
        except KeyboardInterrupt as error:
            # A second one may come within a step: then nothing is known of the state.
            if interrupts.is_forced or not self._has_state():
                raise
            return error
        return None

    def _work(self, params: Start, interrupts: Interrupts) -> None:
        """Runs the fit; however it ends, the last usable state is kept."""
        try:
            self._begin(params)
            self._loop(interrupts)
        except DivergenceError:
            raise
        except BaseException:
            if self._has_state() and not interrupts.is_forced:
                self._rescue()
            raise

    def _has_state(self) -> bool:
        """Whether there is a state; a step that failed may have consumed its buffers."""
        arrays = [x for x in jax.tree.leaves(self.state) if isinstance(x, jax.Array)]
        return bool(arrays) and not any(x.is_deleted() for x in arrays)

    def _rescue(self) -> None:
        """Saves the last state, if there is one."""
        with suppress(KeyboardInterrupt):  # a callback may stop more than once
            self._read()
        self.report.finish()
        if self.step > self._first_step:
            self._save()

    def _begin(self, params: Start) -> None:
        state = self.method.init(params, self._keys.init)
        if self._checkpoints is not None:
            template = state, self._best_of(state)
            if (restored := self._checkpoints.restore(template)) is not None:
                self.step, (state, best), history = restored
                self.best.restore(best)
                self.report.history = History(history)
        self._first_step = self.step
        self._check = data_check(self.method, state, self._keys.init, self.plan.augment)
        with naming("data"):
            self._source.seek(self.step, self._check)
        if self.plan.validation is not None and not callable(self.plan.validation):
            with naming("validation"):
                examples = as_arrays(self.plan.validation)
                batch_size(examples)
                data_check(self.method, state, self._keys.init, None)(examples)
        # Its buffers will be donated: neither the caller's weights may be, nor one buffer twice.
        spec = P() if self.plan.mesh is None else state_spec(self.plan.mesh, self.method)
        self.state = placed(jax.tree.map(jnp.copy, state), self.plan.mesh, spec)

    def _best_of(self, state: Any) -> Any:
        return self.best.saved(() if self.plan.validation is None else state)

    def _loop(self, interrupts: Interrupts) -> None:
        self._progress.start(self.step, self._total)
        if not self._is_done():
            with self._progress.phase("compiling", "compiled"):
                self.state, _ = self._source.advance(self.state, self.step, self.step)
                jax.block_until_ready(self.state)
        if self._validates() and self.report.last_validation < self.step:
            self._validate()  # an interrupt came between the step and its validation
        while not self._is_done():
            interrupts.check()
            self._dispatch()
            if self._validates():
                self._validate()
            if self._saves():
                self._save()
        self._read()
        interrupts.check()
        check_posterior(self.method, self.plan, self.state, self.step)
        self._save()

    @property
    def _total(self) -> int | None:
        """Number of steps of the fit, if known."""
        per_epoch = self._source.steps_per_epoch
        if self.plan.num_epochs is None or per_epoch is None:
            return self.plan.num_steps
        return per_epoch * self.plan.num_epochs

    def _is_done(self) -> bool:
        if self.best.is_over:
            return True
        if self.plan.num_epochs is not None:
            return self._source.epochs_done(self.step) >= self.plan.num_epochs
        assert self.plan.num_steps is not None
        return self.step >= self.plan.num_steps

    def _dispatch(self) -> None:
        """Takes some steps, and reads the metrics of earlier steps while they run."""
        began, first, last = time.monotonic(), self.step, self._next_stop()
        self.state, info = self._source.advance(self.state, first, last)
        epochs = self._source.epochs(first, last)
        before, self.step = self._unread, last
        self._unread = Unread(first, info, epochs, self._source.batch)
        self._take(before)
        self._set_pace(time.monotonic() - began)

    def _next_stop(self) -> int:
        """The step at which the next dispatch ends."""
        stops = [self.step + self._pace, self._source.limit(self.step)]
        if self._total is not None:
            stops.append(self._total)
        every = [self._checkpoint_every, self._validate_every]
        stops += [(self.step // n + 1) * n for n in every if n is not None]
        return min(stops)

    @property
    def _validate_every(self) -> int | None:
        if self.plan.validation is None:
            return None
        return self.plan.validate_every or self._source.steps_per_epoch

    @property
    def _checkpoint_every(self) -> int | None:
        if self._checkpoints is None or jax.process_count() == 1:
            return self.plan.checkpoint_every
        return self.plan.checkpoint_every or self._source.steps_per_epoch

    def _set_pace(self, seconds: float) -> None:
        """Sets the steps of a dispatch: enough to hide its cost, few enough to interrupt."""
        if jax.process_count() > 1:
            self._pace = STEPS_IN_STEP
        elif seconds < FAST:
            self._pace = min(self._pace * 2, 4096)
        elif seconds > SLOW:
            self._pace = max(self._pace // 2, 1)

    def _read(self) -> None:
        """Reads the metrics of all steps taken so far."""
        unread, self._unread = self._unread, None
        self._take(unread)

    def _take(self, unread: Unread | None) -> None:
        if unread is None:
            return
        number = len(unread.epochs)
        info = jax.device_get(unread.info)
        rows = {name: np.asarray(x)[:number] for name, x in info.items()}
        try:
            check_figures(self.method, self.plan, rows, unread.first)
        except DivergenceError:
            if unread.batch is not None:
                self._check(unread.batch)
            raise
        steps = np.arange(unread.first, unread.first + number) + 1
        means = {name: x.reshape(number, -1).mean(1) for name, x in rows.items()}
        columns = {"step": steps, "epoch": unread.epochs, **means}
        names = ("epoch", *sorted(means, key=lambda name: name != "loss"))
        last = {name: columns[name][-1].item() for name in names}
        self._progress.update(int(steps[-1]), last)
        self.report.steps(columns)

    def _validates(self) -> bool:
        if self.plan.validation is None:
            return False
        if self.plan.validate_every is not None and self.step % self.plan.validate_every == 0:
            return True
        is_end = self.plan.validate_every is None and self._source.ends_epoch(self.step)
        return is_end or self._is_done()

    def _validate(self) -> None:
        self._read()
        with self._progress.phase("validating"):
            posterior = self.method.posterior(gathered(self.state, self.plan.mesh))
            figures = self._figures(posterior)
        epoch = float(self.report.history["epoch"][-1]) if self.step else 0.0
        self._progress.validated(epoch, figures)
        self.best.consider(figures, self.state)
        self.report.validation(self.step, figures)

    def _figures(self, posterior: Posterior) -> Row:
        validation = self.plan.validation
        if callable(validation):
            figures = validation(posterior)
            check_type("validation", figures, Mapping, "a function that returns figures by name")
            return dict(figures)
        assert validation is not None
        return validate(self.method.model, posterior, validation, self._keys.validation)

    def _saves(self) -> bool:
        if self._checkpoints is None:
            return False
        if self._checkpoint_every is not None:
            return self.step % self._checkpoint_every == 0
        return jax.process_count() == 1 and time.monotonic() - self._saved > SAVE_EVERY

    def _save(self) -> None:
        if self._checkpoints is None:
            return
        self._read()
        check_posterior(self.method, self.plan, self.state, self.step)
        tree = gathered((self.state, self._best_of(self.state)), self.plan.mesh)
        self._checkpoints.save(self.step, tree, dict(self.report.history))
        self._saved = time.monotonic()
