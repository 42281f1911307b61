"""The command line of a sweep: its flags, its exit code, and what it prints and writes."""

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import tyro
from tqdm import tqdm

from experiments import command, registry, report
from experiments.ranges import Count, Directory, Positive, Seed
from experiments.settings import Settings
from experiments.sweeps import summary
from experiments.sweeps.engines import Ended, engine
from experiments.sweeps.grid import Request, grid
from experiments.sweeps.room import Needs
from experiments.sweeps.sweep import Sweep, command_line
from experiments.sweeps.task import Task
from jfractal.errors import InputError
from jfractal.progress import bar

NOTE = """One run for each combination of settings and each seed. All flags that are not below are
those of the experiment, the same for every run."""
MOST_LINES = 40  # of the table on a terminal


@dataclass(frozen=True)
class Options(Settings):
    """What a sweep can be told."""

    # Settings and their levels, FIELD=VALUE,VALUE,...: all combinations are run. The values of a
    # tuple have spaces between them: --grid "model.widths=8 16,16 32".
    grid: tuple[str, ...] = ()
    seeds: Count = 1  # Runs of each combination, with seeds one after another.
    seed: Seed = 0  # The first of them.
    # Where members run: in processes of this machine, or on a Ray cluster (by default the one that
    # this machine belongs to, else a local one).
    engine: Literal["processes", "ray"] = "processes"
    cores: Count = 1  # Processor cores that a member needs; those left over are shared out.
    memory: Positive = 2.0  # Gigabytes of memory that a member needs.
    out: Directory | None = None  # Directory of the sweep; by default runs/NAME-sweep-TIME.
    resume: bool = False  # Go on with a sweep: the one in --out, else the newest of this name.


def main(name: str, flags: list[str]) -> int:
    """Run a sweep and print its summary and, as the last line, its directory.

    Returns:
        Exit code: 0; 1 if a member failed; 2 if what was asked is not possible; 130 or 143 if
        SIGINT or SIGTERM stopped it.
    """
    try:
        with command.sigterm_raises():
            return _execute(name, flags)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        is_terminated = isinstance(stop, command.Terminated)
        return 128 + (signal.SIGTERM if is_terminated else signal.SIGINT)


def _execute(name: str, flags: list[str]) -> int:
    registry.load(name)
    prog = f"python -m experiments.sweeps {name}"
    with command.one_sentence():
        options, others = tyro.cli(
            Options, prog=prog, description=NOTE, args=flags, return_unknown_args=True
        )
    request = Request(name, tuple(others), grid([*options.grid]), options.seed, options.seeds)
    run = partial(engine(options.engine), needs=Needs(options.cores, options.memory))
    with Sweep.open(request, options.out, resume=options.resume) as sweep:
        again = f"{prog} --resume --out {sweep.directory}"
        try:
            failed = _conduct(sweep, run)
        except KeyboardInterrupt:
            print(f"\ninterrupted; to continue: {again}", file=sys.stderr)
            raise
        _summarize(sweep)
        if failed:
            print(f"error: {failed} members failed; to try them again: {again}", file=sys.stderr)
        print(sweep.directory)
    return 1 if failed else 0


def _conduct(sweep: Sweep, run: Callable[[Sequence[Task]], Ended]) -> int:
    """Runs what is not done; returns how many members failed."""
    tasks = {sweep.task(member): member for member in sweep.waiting}
    name, total, done = sweep.request.name, len(sweep.members), len(sweep.members) - len(tasks)
    print(f"{name}: {done} of {total} members done, in {sweep.directory}", flush=True)
    if not tasks:
        return 0
    with (
        contextlib.closing(run([*tasks])) as ended,
        bar(total=total, initial=done, desc=name, unit="member", disable=None) as shown,
    ):
        for task, code in ended:
            error = sweep.ended(tasks[task], code)
            tqdm.write(f"{task.label}: {'done' if error is None else f'failed: {error}'}")
            shown.update()
    return len(sweep.errors)


def _summarize(sweep: Sweep) -> None:
    """Writes what the members found, and prints the mean of it."""
    done = [(member, sweep.place(member)) for member in sweep.members if sweep.is_done(member)]
    rows = summary.tidy(done)
    table = summary.table(rows, sweep.request.grid)
    text = summary.markdown(table)
    about = f"{len(done)} of {len(sweep.members)} members of `{command_line(sweep.request)}`"
    sweep.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    sweep.write("report.html", report.render_sweep(sweep.record, table))
    sweep.write("summary.md", f"# {sweep.request.name}\n\n{about}\n\n{text}")
    lines = text.splitlines()
    print("\n".join(lines[:MOST_LINES]))
    if len(lines) > MOST_LINES:
        print(f"… and {len(lines) - MOST_LINES} more in {sweep.directory / 'summary.md'}")
