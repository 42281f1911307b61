"""Callbacks of `fit` that show its metrics in TensorBoard or Weights & Biases."""

import importlib
import time
import weakref
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from jfractal.arguments import as_path, described
from jfractal.errors import InputError
from jfractal.training.plan import Row

__all__ = ["TensorBoard", "WeightsAndBiases"]


class TensorBoard:
    """Writes rows where TensorBoard reads them: ``tensorboard --logdir runs``.

    A resumed fit continues in the same directory and overwrites rows after its checkpoint. If there
    are several processes, only the first writes.

    Args:
        directory: Directory of the event files, one for each fit.

    Raises:
        InputError: If `tensorboardX` is not installed.

    Example:
        ::

            board = jf.training.TensorBoard("runs/first")
            fit = jf.fit(method, params, (x, y), key, num_steps=100, callbacks=[board])
    """

    def __init__(self, directory: str | Path):
        self._files = _imported("tensorboardX.event_file_writer", "tensorboard")
        self._events = _imported("tensorboardX.proto.event_pb2", "tensorboard")
        self._directory = as_path("directory", directory)
        self._writer: Any = None

    def __call__(self, row: Row) -> None:
        """Writes a row."""
        if jax.process_index() != 0:
            return
        step = int(row["step"])
        if self._writer is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            # Straight to the file: the writers above it leave rows in a queue for a while.
            self._writer = self._files.EventsWriter(str(self._directory / "events"))
            weakref.finalize(self, self._writer.close)
            start = self._events.SessionLog.START
            self._write(step, session_log=self._events.SessionLog(status=start))
        values = [{"tag": tag, "simple_value": x} for tag, x in row.items() if tag != "step"]
        self._write(step, summary={"value": values})
        self._writer.flush()

    def _write(self, step: int, **content: Any) -> None:
        self._writer.write_event(self._events.Event(wall_time=time.time(), step=step, **content))


class WeightsAndBiases:
    """Sends rows to Weights & Biases. If there are several processes, only the first sends.

    Args:
        run: A run from ``wandb.init(...)``. By default, a new run starts with the first row.
        **settings: Arguments of ``wandb.init`` for that new run, such as ``project`` and ``name``.

    Raises:
        InputError: If `wandb` is not installed.

    Example:
        ::

            run = jf.training.WeightsAndBiases(project="fractal")  # needs W&B, and an account there
            fit = jf.fit(method, params, (x, y), key, num_steps=100, callbacks=[run])
    """

    def __init__(self, run: Any = None, **settings: Any):
        if run is not None and settings:
            raise InputError(f"`run` has settings already, got {', '.join(settings)} in addition")
        if run is not None and not callable(getattr(run, "log", None)):
            raise InputError(f"`run` must be that of `wandb.init(...)`, got {described(run)}")
        self._module = _imported("wandb", "wandb") if run is None else None
        self._run, self._settings = run, settings

    def __call__(self, row: Row) -> None:
        """Sends a row."""
        if jax.process_index() != 0:
            return
        if self._run is None:
            assert self._module is not None
            self._run = self._module.init(**self._settings)
        self._run.log({name: x for name, x in row.items() if name != "step"}, step=int(row["step"]))


def _imported(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(
            f"`{package}` is not installed: pip install 'jfractal[{extra}]'"
        ) from error
