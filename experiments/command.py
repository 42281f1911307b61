"""The command line of one experiment: its flags, its exit code, and what it prints and writes."""

import contextlib
import io
import json
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

import tyro

from experiments import registry, report
from experiments.registry import Experiment
from experiments.report import Outcome
from experiments.rows import slug
from experiments.run import Options, Run, device, finite
from jfractal.errors import DivergenceError, InputError
from jfractal.progress import doing

FRAME = str.maketrans("╭╮╰╯│", "     ")


class Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception: whatever saves its state on Ctrl-C then saves it on `kill` too."""


def main(name: str, flags: list[str]) -> int:
    """Run an experiment and print, as the last line, the directory it leaves.

    Returns:
        Exit code: 0; 1 if it diverged; 2 if what was asked is not possible; 130 or 143 if SIGINT
        or SIGTERM stopped it.
    """
    try:
        with sigterm_raises():
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
        InputError: a value is out of its range.
        SystemExit: with code 2 and a hint if a flag is unknown or its value unusable; with code 0
            after ``--help``.
    """
    read = partial(tyro.cli, prog=f"python -m experiments {name}", args=flags)
    with one_sentence():
        chosen, _ = read(Options, add_help=False, return_unknown_args=True)
        preset = experiment.PRESETS["quick" if chosen.quick else chosen.preset]
        return read(experiment.Config, default=preset, description=experiment.__doc__)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Shortens what tyro says of wrong flags, and lets the settings speak for themselves."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as stop:
        error: BaseException | None = stop
        while error := error.__context__:
            if isinstance(error, InputError):
                raise error from None
        if stop.code:
            text = said.getvalue()
            message, *hints = re.split("─{5,}|-{5,}", text)[1:-1] or [text]
            message = " ".join(message.translate(FRAME).split()).removeprefix("Error ")
            near = re.findall(r"^. +(--\S+)", "".join(hints), flags=re.MULTILINE)
            hint = f"; did you mean {' or '.join(near)}?" if "Perhaps" in text else ""
            print(f"error: {message}{hint}", file=sys.stderr)
        raise


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
    about: dict[str, Any] = {
        "name": run.record["name"],
        "preset": "quick" if config.quick else config.preset,
        "seed": config.seed,
        "device": device(),
        "resumed": run.resume,
    }
    print("{name} ({preset}, seed {seed}) on {device}".format(**about), flush=True)
    with run.watch.on():
        begin = time.monotonic()
        outcome = experiment.run(config, run)
        about["seconds"] = round(time.monotonic() - begin, 2)
        with doing("drawing the report"):
            result = _keep(experiment, about, outcome, run)
    width = max(map(len, result))
    for key, value in result.items():
        print(f"{key:{width}}  {report.show(value)}")
    print(about["finding"])


def _keep(experiment: Experiment, about: dict[str, Any], outcome: Outcome, run: Run) -> Any:
    """Writes what came out, and returns the figures."""
    result = finite(outcome.result)
    about["finding"] = report.sentence(experiment.FINDING, outcome.dataset, outcome.rows)
    run.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in outcome.rows))
    for section in outcome.sections:
        for i, picture in enumerate(section.pictures, start=1):
            run.write(f"figures/{slug(section.title)}_{i}.png", picture.png())
    run.write("report.html", report.render(experiment.__doc__, run.record, about, outcome))
    run.write("result.json", json.dumps({**result, **about}, indent=2) + "\n")
    return result


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM ends what is done within as Ctrl-C does."""

    def stop(*_: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
