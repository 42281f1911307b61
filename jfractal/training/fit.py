"""The one loop, for every method."""

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
    """What `fit` returns.

    Attributes:
        method: What was fitted.
        state: The method's state after the last step.
        history: The figures of all steps and validations, see `History`.
        best_state: The state of the best validation, if there was one.
        stopped_early: Whether no validation was better for too long.
        interrupted: What stopped the fit before its end, as an exception; None if nothing did.
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
            raise InputError("`best` is known after a fit with `validation=` only")
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

    The trajectory depends on the method, the start, the data and the key only: not on how often it
    was interrupted and resumed, nor on what is logged. Equal calls compile once.

    An interrupt, such as Ctrl-C, stops the fit after the step at hand: what there is is saved and
    returned, and `Fit.interrupted` is set, also if it came in the last step and the fit is
    complete. A second one stops it at once.

    Args:
        method: What to fit, e.g. ``jf.variational(model, optax.adam(1e-3))``.
        params: Where to start: weights, all variables of the model (``net.init(key, x)``), or a
            function of a random key that draws either; for an ensemble, also an `Ensemble`.
        data: Inputs and targets ``(x, y)``, trees of arrays, which are put on the device; or an
            iterable of batches (a `torch` `DataLoader`, grain, a generator), iterated over anew
            every epoch and fetched ahead; or a function of the epoch that returns one.
        key: Random key.
        num_epochs: Passes over the data; give this or `num_steps`.
        num_steps: Steps.
        batch_size: Examples in a step; all of them if left out. A last batch that is not full is
            left out of its epoch. An iterable has its own.
        num_data: Number of examples that an iterable stands for; found if it has a ``dataset``.
        augment: ``augment(key, x) -> x``: what is done to the inputs of a batch, on the device.
        validation: Inputs and targets to report figures on after every epoch, see
            `jfractal.training.validate`; or a function of the posterior that returns figures.
        validate_every: Steps from one validation to the next; those of an epoch if left out.
        monitor: Which of these figures says what is best, by being small.
        patience: Stops when so many validations have passed without a better one.
        callbacks: Functions of a row of figures, ``{"step": ..., "epoch": ..., "loss": ...}``, see
            `jfractal.training.TensorBoard` and `jfractal.training.WeightsAndBiases`.
        log_every: Steps from one such row to the next; every validation gives one, too.
        directory: Where to keep checkpoints. The same call continues from the newest.
        checkpoint_every: Steps from one checkpoint to the next; as many as take half a minute if
            left out. There is one at the end, and when the fit is interrupted.
        mesh: Devices that work side by side, with axes ``data`` (each takes a part of a batch) or
            ``members`` (each takes a part of an ensemble) or both. With more than one process, all
            of them call with equal arguments.
        progress: Whether to show a progress bar; on a terminal only if left out.

    Returns:
        A `Fit`.

    Raises:
        InputError: If an argument is out of range or the data do not fit the model.
        DivergenceError: At the first figure that is not finite; earlier checkpoints stay.

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
