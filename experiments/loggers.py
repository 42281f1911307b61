"""Loggers that rows go to besides metrics.jsonl: TensorBoard, or Weights & Biases."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from jfractal.training import TensorBoard, WeightsAndBiases

Logger: TypeAlias = Literal["none", "tensorboard", "wandb"]

OPENERS: Mapping[str, Callable[[Path, str], Callable[[Mapping[str, float]], None]]] = {
    "tensorboard": lambda directory, name: TensorBoard(directory / "tensorboard" / name),
    "wandb": lambda directory, name: WeightsAndBiases(
        project="jfractal", group=str(directory), name=name, dir=str(directory), reinit=True
    ),
}


def check_installed(kind: Logger) -> None:
    """Makes sure that rows can be sent.

    Raises:
        InputError: The logger is not installed.
    """
    if kind != "none":
        OPENERS[kind](Path(), "")  # which writes nothing before its first row


class Loggers:
    """Sends on the rows that have a step, those of each fit as curves of their own.

    Args:
        kind: Which logger.
        directory: That of the run.
    """

    def __init__(self, kind: Logger, directory: Path):
        self._kind, self._directory = kind, directory
        self._open: dict[str, Callable[[Mapping[str, float]], None]] = {}

    def __call__(self, row: Mapping[str, Any]) -> None:
        """Sends a row."""
        if self._kind == "none" or "step" not in row:
            return
        name = "_".join(value for value in row.values() if isinstance(value, str)) or "run"
        if name not in self._open:
            self._open[name] = OPENERS[self._kind](self._directory, name)
        self._open[name]({k: float(v) for k, v in row.items() if not isinstance(v, str)})
