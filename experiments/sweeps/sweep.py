"""The directory of a sweep: what was asked for, its members, and how far they are."""

import json
import os
import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from experiments.run import RUNS
from experiments.sweeps import engines
from experiments.sweeps.grid import Member, Request
from experiments.sweeps.task import Task
from jfractal.errors import InputError
from jfractal.lock import Lock

RECORD = "sweep.json"


@dataclass(frozen=True)
class Sweep:
    """Members in directories of their own, each that of an ordinary run.

    ``sweep.json`` beside them says what was asked for and, of each member, its settings and
    whether it is ``done``, ``failed`` or ``waiting``.
    """

    directory: Path
    request: Request
    members: Sequence[Member]
    errors: dict[str, str] = field(default_factory=dict)
    """Why members failed, by label."""

    @classmethod
    @contextmanager
    def open(cls, request: Request, out: Path | None, *, resume: bool) -> Iterator["Sweep"]:
        """Begin a sweep, or go on with one; its directory is locked meanwhile.

        Args:
            request: What is asked for; to go on, that of the name alone stands for what was.
            out: The directory; a new one, or to go on the newest of the experiment, if left out.
            resume: Whether to go on.

        Raises:
            InputError: Something cannot be as asked; nothing has been written.
            SystemExit: With code 2, as `Request.members`.
        """
        begun = (out or _newest(request.name)) if resume else None
        request = request if begun is None else _continued(begun, request)
        members = request.members()
        directory = begun or out or _new(request.name)
        with Lock(directory, "out"):
            if not resume and (directory / RECORD).exists():
                raise InputError(
                    f"`out`: {directory} already holds a sweep; continue it with --resume, or "
                    "choose another directory"
                )
            sweep = cls(directory, request, members)
            sweep.write_record()
            yield sweep

    @property
    def waiting(self) -> list[Member]:
        """The members that are not done."""
        return [member for member in self.members if not self.is_done(member)]

    def is_done(self, member: Member) -> bool:
        """Whether a member has come to its end: the result is what a run writes last."""
        return (self.place(member) / "result.json").exists()

    def place(self, member: Member) -> Path:
        """The directory of a member."""
        return self.directory / member.label

    def task(self, member: Member) -> Task:
        """What runs a member, or what is left of it."""
        place = self.place(member)
        again = ("--resume",) if (place / "config.json").exists() else ()
        flags = (self.request.name, *member.flags, "--out", str(place), *again)
        command = (*engines.PROGRAM, *flags)
        return Task(member.label, command, Path.cwd() / place / "output.txt", Path.cwd())

    def ended(self, member: Member, code: int) -> str | None:
        """Notes that a member has ended; returns why it failed, or None."""
        if self.is_done(member):
            self.errors.pop(member.label, None)
        else:
            self.errors[member.label] = _reason(self.place(member) / "output.txt", code)
        self.write_record()
        return self.errors.get(member.label)

    def write(self, name: str, content: str) -> None:
        """Writes a whole file beside the members; a reader finds the old one or the new one."""
        temporary = self.directory / f".{name}.part"
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, self.directory / name)

    def write_record(self) -> None:
        """Writes sweep.json."""
        self.write(RECORD, json.dumps(self.record, indent=2) + "\n")

    @property
    def record(self) -> dict[str, Any]:
        """What was asked for, and how far the members are, as in sweep.json."""
        return {
            **asdict(self.request),
            "command": command_line(self.request),
            "members": [self._described(member) for member in self.members],
        }

    def _described(self, member: Member) -> dict[str, Any]:
        error = self.errors.get(member.label)
        status = "done" if self.is_done(member) else "failed" if error else "waiting"
        return {"directory": member.label, "values": member.values, "status": status} | (
            {"error": error} if error else {}
        )


def command_line(request: Request, *more: str) -> str:
    """The command that asks for a sweep."""
    grid = [f"{name}={','.join(levels)}" for name, levels in request.grid.items()]
    words = ["--seeds", str(request.seeds)]
    words += ["--seed", str(request.seed)] if request.seed else []
    words += ["--grid", *grid] if grid else []
    words = [request.name, *words, *request.flags, *more]
    return shlex.join(["python", "-m", "experiments.sweeps", *words])


def _new(name: str) -> Path:
    moment = datetime.now()
    while True:
        directory = RUNS / f"{name}-sweep-{moment:%Y%m%d-%H%M%S}"
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            moment += timedelta(seconds=1)  # that second is another sweep's
        except OSError as error:
            raise InputError(f"`out`: cannot write to {directory}: {error.strerror}") from error
        else:
            return directory


def _newest(name: str) -> Path:
    records = sorted(RUNS.glob(f"{name}-sweep-*/{RECORD}"))
    if not records:
        raise InputError(f"`resume`: there is no sweep of {name} in {RUNS}")
    return records[-1].parent


def _continued(directory: Path, asked: Request) -> Request:
    """What the sweep in a directory was asked for, unless something else is asked for now."""
    record = directory / RECORD
    if not record.exists():
        raise InputError(f"`resume`: there is no sweep in {directory}")
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        grid = {field: tuple(levels) for field, levels in found["grid"].items()}
        begun = Request(
            str(found["name"]), tuple(found["flags"]), grid, int(found["seed"]), int(found["seeds"])
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"`resume`: {record} is damaged, begin another sweep ({reason})"
        ) from error
    if asked not in (begun, Request(begun.name, (), {}, 0, 1)):
        raise InputError(
            f"`resume`: the sweep in {directory} was begun with: {command_line(begun)}"
        )
    return begun


def _reason(output: Path, code: int) -> str:
    """Why a member failed: what it said last, or what killed it."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", as where memory runs out: raise --memory" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    text = output.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = lines[-1].removeprefix("error: ") if lines else "it said nothing"
    return f"{said} (exit code {code})"
