"""Finds the experiments: every module of this package that is not part of the harness."""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import experiments

if TYPE_CHECKING:
    from experiments.report import Finding, Outcome
    from experiments.run import Options, Run

HARNESS = {
    *("__main__", "command", "loggers", "ranges", "registry", "report", "rows", "run", "settings"),
    *("sweeps", "watch"),
}


class Experiment(Protocol):
    """What a module must define to be an experiment.

    Its docstring is the lab note, whose first line appears in lists. ``PRESETS`` has a `Config` for
    each of ``laptop``, ``paper`` and ``quick``. ``FINDING`` puts the rows of a run into a sentence.
    """

    __name__: str
    __doc__: str
    Config: "type[Options]"
    PRESETS: "Mapping[str, Options]"
    FINDING: "Finding"

    def run(self, config: Any, run: "Run") -> "Outcome":
        """Do the experiment; what it writes, it writes through `run`."""
        ...


def names() -> list[str]:
    """The names of all experiments, in alphabetical order."""
    modules = (module.name for module in pkgutil.iter_modules(experiments.__path__))
    return sorted(name for name in modules if name not in HARNESS and not name.startswith("_"))


def summary(name: str) -> str:
    """First line of an experiment's lab note, read without importing it (and JAX with it)."""
    spec = importlib.util.find_spec(f"experiments.{name}")
    assert spec is not None and spec.origin is not None
    note = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return note.splitlines()[0] if note else ""


def listing() -> str:
    """One line for each experiment: its name and what it is about."""
    width = max(map(len, names()), default=0)
    return "\n".join(f"{name:{width}}  {summary(name)}".rstrip() for name in names())


def announce(name: str, flags: list[str]) -> None:
    """Say what is being done while JAX is imported, which takes some seconds."""
    if name in names() and not {"-h", "--help"} & {*flags}:
        print(f"{name}: loading JAX", flush=True)


def load(name: str) -> Experiment:
    """Import an experiment.

    Raises:
        InputError: there is none of that name; the message has the nearest one.
    """
    if name not in names():
        from jfractal.errors import InputError  # here, since it brings JAX, which a list can spare

        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names())}"
        raise InputError(f"no experiment is named {name!r}; {hint}")
    return cast(Experiment, importlib.import_module(f"experiments.{name}"))
