"""The training loop of every method."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from jfractal.arguments import as_path, check_key, check_type, described
from jfractal.errors import InputError
from jfractal.inference.batch import Batch
from jfractal.inference.method import Method, Start
from jfractal.posterior.posterior import Posterior
from jfractal.training.batches import Batches
from jfractal.training.devices import gathered
from jfractal.training.driver import Driver
from jfractal.training.history import VALIDATION, History
from jfractal.training.plan import Callback, Plan, Row
from jfractal.typing import KeyArray

__all__ = ["Fit", "fit"]


@dataclass(frozen=True, repr=False)
class Fit:
    """The result of `fit`.

    Attributes:
        method: The method that was fitted.
        state: State of the method after the last step.
        history: Metrics of all steps and validations, see `History`.
        best_state: State of the best validation, if there was one.
        stopped_early: Whether the fit stopped because validations no longer improved.
        interrupted: The exception that stopped the fit before its end; None if nothing did.
    """

    method: Method
    state: Any
    history: History
    best_state: Any = None
    stopped_early: bool = False
    interrupted: BaseException | None = None

    @property
    def posterior(self) -> Posterior:
        """The posterior after the last step; after early stopping, that of the best validation."""
        return self.best if self.stopped_early else self.method.posterior(self.state)

    @property
    def best(self) -> Posterior:
        """The posterior of the best validation.

        Raises:
            InputError: If there was no validation.
        """
        if self.best_state is None:
            raise InputError("`best` is known only after a fit with `validation=`")
        return self.method.posterior(self.best_state)

    def __repr__(self) -> str:
        steps = len(self.history["step"]) if "step" in self.history else 0
        counts = ("step", "epoch", f"{VALIDATION}step", f"{VALIDATION}epoch")
        last = {name: x[-1] for name, x in self.history.items() if name not in counts}
        shown = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
        state = f", interrupted by {type(self.interrupted).__name__}" if self.interrupted else ""
        return f"Fit of {self.method.name}: {steps} steps{state}; {shown}"


def fit(
    method: Method,
    params: Start,
    data: Batch | Batches,
    key: KeyArray,
    *,
    num_epochs: int | None = None,
    num_steps: int | None = None,
    batch_size: int | None = None,
    num_data: int | None = None,
    augment: Callable[[KeyArray, Any], Any] | None = None,
    validation: Batch | Callable[[Posterior], Row] | None = None,
    validate_every: int | None = None,
    monitor: str | None = None,
    patience: int | None = None,
    callbacks: Sequence[Callback] = (),
    log_every: int = 50,
    directory: str | Path | None = None,
    checkpoint_every: int | None = None,
    mesh: Mesh | None = None,
    progress: bool | None = None,
) -> Fit:
    """Fits a method to data: batches, progress, validation, checkpoints, devices.

    The trajectory depends only on the method, the start, the data and the key. It does not depend
    on logging, nor on how often the fit was interrupted and resumed. Equal calls compile once.

    An interrupt, such as Ctrl-C, stops the fit after the current step. The fit so far is saved and
    returned, and `Fit.interrupted` is set, even if the interrupt came in the last step. A second
    interrupt stops the fit at once.

    Args:
        method: The method to fit, e.g. ``jf.variational(model, optax.adam(1e-3))``.
        params: The starting point: weights, all variables of the model (``net.init(key, x)``), or a
            function of a random key that draws either. An ensemble may also start from an
            `Ensemble`.
        data: Inputs and targets ``(x, y)``, trees of arrays, which are put on the device; an
            iterable of batches (a `torch` `DataLoader`, grain, a generator), which is iterated over
            again in every epoch and fetched ahead; or a function of the epoch that returns one.
        key: Random key.
        num_epochs: Number of passes over the data; give this or `num_steps`.
        num_steps: Number of steps; give this or `num_epochs`.
        batch_size: Examples in a step. By default, all of them. A last batch that is not full is
            left out of its epoch. Do not give it for an iterable, which has its own batches.
        num_data: Number of examples behind an iterable. By default, that of its ``dataset``, if it
            has one.
        augment: ``augment(key, x) -> x``, applied to the inputs of every batch, on the device.
        validation: Inputs and targets to compute metrics on after every epoch, see
            `jfractal.training.validate`; or a function of the posterior that returns metrics.
        validate_every: Steps from one validation to the next. By default, an epoch.
        monitor: Name of the validation metric that decides which state is best. Lower is better;
            put a minus in front of a metric that should be high, as in ``-accuracy``. By default,
            ``nll`` if there is one.
        patience: Number of validations without improvement after which the fit stops.
        callbacks: Functions of a row of metrics, ``{"step": ..., "epoch": ..., "loss": ...}``, see
            `jfractal.training.TensorBoard` and `jfractal.training.WeightsAndBiases`.
        log_every: Steps from one such row to the next. Every validation gives a row, too.
        directory: Directory to keep checkpoints in. The same call continues from the newest.
        checkpoint_every: Steps from one checkpoint to the next. By default, about half a minute of
            steps. The end of a fit and an interrupt also give a checkpoint.
        mesh: Devices that share the work, with an axis ``data`` (each device takes a part of a
            batch), an axis ``members`` (each takes a part of an ensemble), or both. If there are
            several processes, all must call with equal arguments.
        progress: Whether to show a progress bar. By default, only on a terminal.

    Returns:
        A `Fit`.

    Raises:
        InputError: If an argument is out of range, or the data do not fit the model.
        DivergenceError: If a metric is not finite; earlier checkpoints stay.

    Example:
        ::

            method = jf.variational(model, optax.adam(1e-3))
            fit = jf.fit(method, params, (x, y), key, num_epochs=20, batch_size=128)
            fit.posterior, fit.history["loss"]
    """
    check_type("method", method, Method, "a method, such as `jf.variational(model, optimizer)`")
    check_key("key", key)
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise InputError(f"`callbacks` must be a list of functions, got {described(callbacks)}")
    if isinstance(mesh, Mesh):
        # `jax.make_mesh` makes axes over which a program must say where every array lies.
        mesh = Mesh(mesh.devices, mesh.axis_names)
    plan = Plan(
        num_epochs=num_epochs,
        num_steps=num_steps,
        batch_size=batch_size,
        num_data=num_data,
        augment=augment,
        validation=validation,
        validate_every=validate_every,
        monitor=monitor,
        patience=patience,
        callbacks=tuple(callbacks),
        log_every=log_every,
        directory=None if directory is None else as_path("directory", directory),
        checkpoint_every=checkpoint_every,
        mesh=mesh,
        progress=progress,
    )
    driver = Driver(method, plan, data, key)
    interrupted = driver.run(params)
    return Fit(
        method,
        gathered(driver.state, mesh),
        driver.report.history,
        gathered(driver.best.state, mesh),
        driver.best.is_over,
        interrupted,
    )
