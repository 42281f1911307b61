"""The command line of one experiment: its flags, its exit code, and what it prints and writes."""

import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import tyro

from experiments import registry, report
from experiments.registry import Experiment
from experiments.rows import slug
from experiments.run import Options, Run, device, finite
from jfractal.errors import DivergenceError, InputError


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: whatever saves its state on Ctrl-C then saves it on `kill` too."""


def main(name: str, flags: list[str]) -> int:
    """Run an experiment and print, as the last line, the directory it leaves.

    Returns:
        Exit code: 0; 1 if it diverged; 2 if what was asked is not possible; 130 or 143 if SIGINT
        or SIGTERM stopped it.
    """
    try:
        with _sigterm_raises():
            print(_execute(name, flags).directory)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except DivergenceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
    return 0


def parse(name: str, experiment: Experiment, flags: list[str]) -> Options:
    """The experiment's `Config`: that of the preset which the flags name, changed by the flags.

    Raises:
        SystemExit: with code 2 and a hint if a flag is unknown or its value unusable; with code 0
            after ``--help``.
    """
    prog = f"python -m experiments {name}"
    chosen, _ = tyro.cli(Options, prog=prog, args=flags, add_help=False, return_unknown_args=True)
    preset = experiment.PRESETS["quick" if chosen.quick else chosen.preset]
    note = experiment.__doc__
    return tyro.cli(experiment.Config, prog=prog, args=flags, default=preset, description=note)


def _execute(name: str, flags: list[str]) -> Run:
    experiment = registry.load(name)
    config = parse(name, experiment, flags)
    command = shlex.join(["python", "-m", "experiments", name, *flags])
    with Run.open(name, config, command) as run:
        try:
            _conduct(experiment, config, run)
        except InputError:
            run.discard()
            raise
        except KeyboardInterrupt:
            missing = [] if config.resume else ["--resume"]
            missing += [] if config.out else ["--out", str(run.directory)]
            again = shlex.join([sys.executable, "-m", "experiments", name, *flags, *missing])
            print(f"\ninterrupted; to continue: {again}", file=sys.stderr)
            raise
    return run


def _conduct(experiment: Experiment, config: Options, run: Run) -> None:
    record = run.record
    about = {
        "name": record["name"],
        "preset": "quick" if config.quick else config.preset,
        "seed": config.seed,
        "device": device(),
        "resumed": run.resume,
    }
    print("{name} ({preset}, seed {seed}) on {device}".format(**about), flush=True)
    begin = time.monotonic()
    outcome = experiment.run(config, run)
    about["seconds"] = round(time.monotonic() - begin, 2)
    result = finite(outcome.result)
    run.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in outcome.rows))
    for section in outcome.sections:
        for i, picture in enumerate(section.pictures, start=1):
            run.write(f"figures/{slug(section.title)}_{i}.png", picture.png())
    run.write("report.html", report.render(experiment.__doc__, record, about, outcome))
    run.write("result.json", json.dumps({**result, **about}, indent=2) + "\n")
    width = max(map(len, result))
    for key, value in result.items():
        print(f"{key:{width}}  {report.show(value)}")


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    def stop(*_: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
