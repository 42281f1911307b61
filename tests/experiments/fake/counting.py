"""Count to a number.

What the harness is tested with: it ends in every way an experiment can end.
"""

import os
import signal
import time
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.figure import Figure

from experiments.report import Outcome, Picture, Section, Table
from experiments.rows import Rows
from experiments.run import Options, Run
from jfractal.errors import DivergenceError, InputError


@dataclass(frozen=True)
class Counter:
    """How to count."""

    stride: int = 1
    """What is added at each step."""


@dataclass(frozen=True)
class Config(Options):
    """Settings of the counting."""

    steps: int = 3
    """How often to add."""
    counter: Counter = field(default_factory=Counter)
    """How to count."""
    dataset: str = "integers"
    """What to count; there are only integers."""
    end: Literal["well", "nan", "diverged", "refused", "bug", "SIGINT", "SIGTERM", "never"] = "well"
    """How it ends."""


PRESETS = {
    "laptop": Config(),
    "paper": Config(preset="paper", steps=1000),
    "quick": Config(quick=True, steps=1),
}


def FINDING(rows: Rows) -> str:
    """What was counted."""
    return f"the total is {rows.values('total')[0]}"


def run(config: Config, run: Run) -> Outcome:
    if config.end == "refused":
        raise InputError("`dataset` must be countable")
    saved = run.checkpoints / "count"
    begin = int(saved.read_text()) if saved.exists() else 0
    run.rewind(begin)
    for step in range(begin + 1, config.steps + 1):
        run.log({"step": step, "total": step * config.counter.stride})
        saved.write_text(str(step))
        match config.end:
            case "bug":
                raise ZeroDivisionError
            case "diverged":
                raise DivergenceError("the count is infinite at step 1")
            case "never":
                print("counting", flush=True)
                time.sleep(60)
            case "SIGINT" | "SIGTERM":
                os.kill(os.getpid(), getattr(signal, config.end))
    figure = Figure()
    figure.add_subplot().plot([row["total"] for row in run.rows()])
    total = float("nan") if config.end == "nan" else run.rows()[-1]["total"]
    rows = Rows()
    rows.add({"total": total})
    return Outcome(
        "integers",
        config.dataset,
        rows,
        [
            Section(
                "The count",
                "One paragraph of <text>.\n\nAnother one.",
                Table(["what", "how many"], [["steps", config.steps], ["share", 0.123456]]),
                [Picture(figure, "Total by step")],
            )
        ],
    )
