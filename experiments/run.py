"""One run: the options of every experiment, and the directory with the results of a run."""

import contextlib
import json
import math
import os
import platform
import re
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax.serialization import msgpack_restore, msgpack_serialize
from flax.traverse_util import flatten_dict

from experiments.loggers import Logger, Loggers, check_installed
from experiments.ranges import Count, Directory, Seed
from experiments.report.words import named
from experiments.rows import Rows, slug
from experiments.settings import Settings
from experiments.watch import Parts, Watch
from jfractal import Fit, Method, fit, storage
from jfractal.errors import DivergenceError, InputError
from jfractal.lock import Lock
from jfractal.progress import DOING, doing

RUNS = Path("runs")
RECORD = {
    "name": str,
    "number": int,
    "command": str,
    "config": dict,
    "device": dict,
    "versions": dict,
}
"""The entries of config.json that are read back, and their types."""
NO_SETTINGS = ("out", "resume", "log")
PACKAGES = ("jfractal", "jax", "jaxlib", "flax", "optax", "numpyro")


@dataclass(frozen=True)
class Options(Settings):
    """The options of every experiment; the `Config` of each adds its own."""

    # Size of the experiment: minutes on a laptop, or the setting of the paper.
    preset: Literal["laptop", "paper"] = "laptop"
    quick: bool = False  # A smoke test of some seconds, whatever the preset; no real figures.
    seed: Seed = 0  # The one seed from which all random keys are split.
    out: Directory | None = None  # Directory of the run; by default a new one, runs/NAME/TIME.
    # Continue a run from its last checkpoint: the one in --out, else the newest of this name.
    resume: bool = False
    # Where curves go beside metrics.jsonl: tensorboard (into the run), wandb, or none.
    log: Logger = "none"


@dataclass(frozen=True)
class SeedsOptions(Options):
    """The options of an experiment that is repeated with several seeds."""

    num_seeds: Count = 3  # Runs of each method, with draws of their own.


@dataclass(frozen=True)
class VmappedSeedsOptions(SeedsOptions):
    """The options of an experiment whose seeds run in one vmapped program."""


@dataclass(frozen=True)
class Run:
    """The directory of one run. Files are replaced atomically; log rows are added line by line."""

    directory: Path
    resume: bool
    """Whether the run was begun earlier: restore the last checkpoint, if there is one."""
    watch: Watch
    loggers: Loggers

    @classmethod
    @contextlib.contextmanager
    def open(cls, name: str, config: Options, command: str) -> Iterator["Run"]:
        """Begin a run or, if ``config.resume``, continue one; the record keeps the command line.

        The directory is locked meanwhile.

        Raises:
            InputError: the directory cannot be written; it already holds a run (begin); it holds
                none, or one with other settings (continue); the logger is not installed.
        """
        check_installed(config.log)
        with contextlib.ExitStack() as stack:
            try:
                directory = config.out or (_newest if config.resume else _new)(name)
                run = cls(directory, config.resume, Watch(name), Loggers(config.log, directory))
                if config.resume and not run._config.exists():
                    raise InputError(f"`resume`: there is no run in {directory}")
                stack.enter_context(Lock(directory, "out"))
                if config.resume:
                    run._continue(name, config)
                else:
                    run._begin(name, config, command)
            except OSError as error:
                message = f"`out`: cannot write to {error.filename}: {error.strerror}"
                raise InputError(message) from error
            yield run

    def _begin(self, name: str, config: Options, command: str) -> None:
        if self._config.exists():
            raise InputError(
                f"`out`: {self.directory} already holds a run; "
                "continue it with --resume, or choose another directory"
            )
        record = {
            "name": name,
            "number": _next_number(name),
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": command,
            "seed": config.seed,
            "config": settings(config),
            **_environment(),
        }
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self._metrics.touch()
        self.write("config.json", json.dumps(record, indent=2) + "\n")

    def _continue(self, name: str, config: Options) -> None:
        record = self.record
        before = {"name": record["name"], **flatten_dict(record["config"], sep=".")}
        now = {"name": name, **flatten_dict(settings(config), sep=".")}
        for field in before | now:
            if before.get(field) != now.get(field):
                raise InputError(
                    f"`resume`: the run in {self.directory} has `{field}` {before.get(field)!r}, "
                    f"not {now.get(field)!r}; it was begun with: {record['command']}"
                )
        begun_on, now_on = record["device"].get("kind"), device()
        if begun_on != now_on:
            warnings.warn(
                f"begun on {begun_on}, the run goes on on {now_on}: "
                "not quite the trajectory that it would have had",
                stacklevel=2,
            )
        storage.discard_parts(self.checkpoints)
        self.rewind(math.inf)  # a process killed while it wrote leaves half a line

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoints."""
        return self.directory / "checkpoints"

    @property
    def record(self) -> dict[str, Any]:
        """The record from the start, as in config.json: settings, versions, device, commit."""
        return _record(self._config)

    @property
    def _config(self) -> Path:
        return self.directory / "config.json"

    @property
    def _metrics(self) -> Path:
        return self.directory / "metrics.jsonl"

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to metrics.jsonl; ``row["step"]`` is what `rewind` goes by.

        Raises:
            DivergenceError: a value is NaN or infinite.
            InputError: the file cannot be written.
        """
        with _writing(self._metrics), self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite(row)) + "\n")
        self.watch.row(row)
        self.loggers(row)

    def rows(self, **of: Any) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl with these values, without a last line never finished."""
        try:
            text = self._metrics.read_text(encoding="utf-8")
            rows = [_row(line) for line in text.split("\n")[:-1]]
        except (OSError, ValueError, RecursionError) as error:
            raise _damaged(self._metrics, error) from error
        return [row for row in rows if not _differs(row, of)]

    def rewind(self, step: float, /, **of: Any) -> None:
        """Drop the rows with these values after `step`, which are about to be logged again."""
        self._keep(lambda row: row.get("step", -math.inf) <= step or _differs(row, of))

    def _rewind_to(self, first: Mapping[str, Any]) -> None:
        """Drop the row of a net that is logged again, and those after it.

        A step and the validation after it have a row each: the latter may come again by itself.
        """
        comes_again = False

        def is_before(row: Mapping[str, Any]) -> bool:
            nonlocal comes_again
            if row.get("net") != first["net"]:
                return True
            step = row.get("step", -math.inf)
            is_same = step == first["step"] and row.keys() == first.keys()
            comes_again |= is_same or step > first["step"]
            return not comes_again

        self._keep(is_before)

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        rows = filter(wanted, self.rows())
        self.write("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def fit(
        self, method: Method, params: Any, data: Any, key: Any, *, name: str, **options: Any
    ) -> Fit:
        """`jf.fit` with its checkpoints in this directory and its rows, by `name`, in its log.

        Raises:
            KeyboardInterrupt: the fit was interrupted; it is saved.
        """
        is_first = True

        def log(row: Mapping[str, float]) -> None:
            nonlocal is_first
            if is_first:  # rows that were written after the last checkpoint come again
                self._rewind_to({"net": name, **row})
                is_first = False
            self.log({"net": name, **row})

        directory = self.checkpoints / name
        words = lambda text: {*slug(text).split("_")}
        is_said = name == "net" or words(name) <= words(" ".join(map(str, DOING)))
        with contextlib.nullcontext() if is_said else doing(name):
            result = fit(method, params, data, key, callbacks=[log], directory=directory, **options)
        if result.interrupted is not None:
            raise result.interrupted
        return result

    def once(self, compute: Callable[[], Any], /, **of: Any) -> Any:
        """``compute()``, or what it gave before the run was interrupted.

        If it is a dict, the numbers in it are a row of metrics.jsonl; if a list of dicts, each is.

        Args:
            compute: returns a tree of dicts and lists with arrays and numbers; rows that it logs
                itself have the values `of`.
            **of: what it is the result of, e.g. ``method="MAP", step=0``; no other part's.

        Returns:
            The tree, with NumPy arrays.
        """
        name = "_".join(re.sub(r"\W+", "-", str(value)) for value in of.values())
        path = self.checkpoints / f"{name}.npz"
        if self.resume and path.exists():
            return _restored(path)
        self._keep(lambda row: _differs(row, of))
        content = msgpack_serialize(jax.device_get(compute()))
        result = msgpack_restore(content)
        if isinstance(result, dict) and (numbers := _numbers(result)):
            self.log({**of, **numbers})
        for row in result if isinstance(result, list) else ():
            if isinstance(row, dict):
                self.log({**of, **row})
        storage.write(path, {"content": np.frombuffer(content, np.uint8)}, of)
        return result

    def sweep(
        self, compute: Callable[..., Rows | Mapping[str, Any]], **axes: Iterable[Any]
    ) -> Rows:
        """Rows of ``compute(**cell)`` for each cell of a grid, each kept as `once` keeps it.

        Args:
            compute: returns figures by name, or rows with fields of their own.
            **axes: fields and their levels; the last runs fastest.
        """
        rows = Rows()
        for cell in self.each(**axes):
            part = self.once(lambda cell=cell: Rows.of(compute(**cell)).rows, **cell)
            rows.extend({**row, **cell} for row in part)
        return rows

    def each(self, **axes: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """The cells of a grid in turn; whoever looks sees which one this is: ``3/7 IVON``.

        Args:
            **axes: fields and their levels; the last runs fastest.
        """
        cells = [dict(zip(axes, levels)) for levels in product(*axes.values())]
        with contextlib.closing(Parts(len(cells))) as parts:
            for number, cell in enumerate(cells, start=1):
                with parts.part(f"{number}/{len(cells)} {named(cell)}"):
                    yield cell

    def write(self, name: str, content: str | bytes) -> None:
        """Write a whole file of the directory; a reader finds the old one or the new one.

        Raises:
            InputError: the file cannot be written.
        """
        path = self.directory / name
        temporary = path.with_name(f".{path.name}.part")
        with _writing(path):
            path.parent.mkdir(exist_ok=True)
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            os.replace(temporary, path)

    def discard(self) -> None:
        """Undo `open`, if nothing worth keeping was written since."""
        if self.resume or (self.directory / "figures").exists():
            return
        if any(self.checkpoints.iterdir()) or self.rows():
            return
        self.checkpoints.rmdir()
        self._metrics.unlink()
        self._config.unlink()
        (self.directory / ".lock").unlink()
        with contextlib.suppress(OSError):  # somebody's own files may lie there too
            self.directory.rmdir()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Says of a full disk, or another reason not to write, what keeps and how to go on."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"`out`: cannot write {path}: {error.strerror or error}; mend that and continue the "
            "run with --resume: what was written stays"
        ) from error


def _restored(path: Path) -> Any:
    arrays, _ = storage.read(path)
    if "content" not in arrays:
        raise InputError(f"`resume`: {path} is of another origin: remove it")
    return msgpack_restore(arrays["content"].tobytes())


def _differs(row: Mapping[str, Any], of: Mapping[str, Any]) -> bool:
    return any(row.get(key) != value for key, value in of.items())


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    flat: dict[str, Any] = flatten_dict(values, sep="/")
    is_number = lambda value: not isinstance(value, dict | str) and np.ndim(value) == 0
    return {key: float(value) for key, value in flat.items() if is_number(value)}


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` ready for JSON, arrays of one element as Python numbers.

    Raises:
        DivergenceError: one is NaN or infinite.
    """
    plain = {
        key: value.item() if hasattr(value, "item") else value for key, value in values.items()
    }
    for key, value in plain.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise DivergenceError(f"`{key}` is {value}, which is not a result")
    return plain


def settings(config: Options) -> dict[str, Any]:
    """`config` as JSON holds it, without what changes no result."""
    values = json.loads(json.dumps(asdict(config), default=str))
    return {field: value for field, value in values.items() if field not in NO_SETTINGS}


def _new(name: str) -> Path:
    moment = datetime.now()
    while True:
        directory = RUNS / name / f"{moment:%Y%m%d-%H%M%S}"
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            moment += timedelta(seconds=1)  # that second is another run's
        else:
            return directory


def _newest(name: str) -> Path:
    """The run of the highest number: names say the time, and a clock may have been set back."""
    configs = sorted(_configs(name), key=lambda config: _record(config)["number"])
    if not configs:
        raise InputError(f"`resume`: there is no run of {name} in {RUNS / name}")
    return configs[-1].parent


def _configs(name: str) -> list[Path]:
    return sorted(RUNS.glob(f"{name}/*/config.json"))


def _next_number(name: str) -> int:
    numbers = [0]
    for config in _configs(name):
        with contextlib.suppress(InputError):  # a damaged one keeps nobody from beginning
            numbers.append(_record(config)["number"])
    return max(numbers) + 1


def _record(config: Path) -> dict[str, Any]:
    try:
        record = {"number": 0, **json.loads(config.read_text(encoding="utf-8"))}
        for field, kind in RECORD.items():
            if not isinstance(record.get(field), kind):
                raise ValueError(f"its `{field}` is {record.get(field)!r}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(config, error) from error
    return record


def _row(line: str) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict) or not isinstance(row.get("step", 0), int | float):
        raise ValueError(f"{line[:40]!r} is not a row of figures")
    return row


def _damaged(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"`resume`: {path} is damaged, mend it or begin another run ({reason})")


def device() -> str:
    """The accelerator that JAX runs on, with their number if there are several.

    Raises:
        InputError: If ``JAX_PLATFORMS`` names one that is not there.
    """
    try:
        kind, count = jax.devices()[0].device_kind, jax.device_count()
    except (AssertionError, RuntimeError) as error:  # as JAX has it, by what is installed
        asked = os.environ.get("JAX_PLATFORMS", "")
        raise InputError(
            f"`JAX_PLATFORMS` must name a platform that is here, got {asked!r}, for which JAX "
            "finds no device; without it JAX takes what there is"
        ) from error
    return kind if count == 1 else f"{count} x {kind}"


def _environment() -> dict[str, Any]:
    return {
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        "device": {"kind": device(), "platform": jax.default_backend()},
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checked-out commit, with ``-dirty`` if files differ from it; None outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
        return done.stdout.strip() or None
    return None
