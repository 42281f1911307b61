"""What a sweep is asked for, and its members: one run for each cell of a grid and each seed."""

import difflib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from flax.traverse_util import flatten_dict

from experiments import command, registry
from experiments.run import VmappedSeedsOptions, settings
from jfractal.errors import InputError

Levels = Mapping[str, tuple[str, ...]]
"""Fields of a `Config` and their levels, as they stand on the command line."""


@dataclass(frozen=True)
class Member:
    """One run of a sweep.

    Attributes:
        label: What it is called, and its directory.
        values: Its cell of the grid, by field, and its ``seed``.
        flags: Those of `python -m experiments`, behind the name.
    """

    label: str
    values: Mapping[str, Any]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """A sweep as it was asked for.

    Attributes:
        name: The experiment.
        flags: Its flags that are the same for all members.
        grid: Fields and their levels.
        seed: The first seed.
        seeds: Number of seeds of each cell, from the first on.
    """

    name: str
    flags: tuple[str, ...]
    grid: Levels
    seed: int
    seeds: int

    def members(self) -> list[Member]:
        """All runs, those of one cell next to each other.

        Raises:
            InputError: A field does not exist, a value is out of its range, or two members are one.
            SystemExit: With code 2 and a hint if a flag is unknown or a value unusable.
        """
        experiment = registry.load(self.name)
        known = _flat(command.parse(self.name, experiment, list(self.flags)))
        for field in self.grid:
            if field not in known or field == "seed":
                raise InputError(_no_such_field(self.name, field, known))
        seeds, repeated = self._seeds(experiment)
        members = {}
        for levels, seed in product(product(*self.grid.values()), seeds):
            cell = dict(zip(self.grid, levels))
            words = [word for field in cell for word in _words(field, cell[field], known[field])]
            flags = (*self.flags, *words, "--seed", str(seed), *repeated)
            config = _flat(command.parse(self.name, experiment, list(flags)))
            values = {**{field: config[field] for field in cell}, "seed": seed}
            label = _label(values)
            if label in members:
                raise InputError(f"`grid` must have levels that differ, got two of {label}")
            members[label] = Member(label, values, flags)
        return [*members.values()]

    def _seeds(self, experiment: registry.Experiment) -> tuple[range, tuple[str, ...]]:
        """The seeds that are members, and the flags for those that share a program."""
        words = " ".join([*self.flags, *self.grid]).replace("-", "_")
        is_vmapped = issubclass(experiment.Config, VmappedSeedsOptions)
        if self.seeds > 1 and is_vmapped and "num_seeds" not in words:
            return range(self.seed, self.seed + 1), ("--num-seeds", str(self.seeds))
        return range(self.seed, self.seed + self.seeds), ()


def grid(given: list[str]) -> dict[str, tuple[str, ...]]:
    """Fields and levels of words such as ``model.columns=1,2,3``.

    Raises:
        InputError: One is of another form, or a field comes twice.
    """
    found = {}
    for word in given:
        field, _, levels = word.partition("=")
        field, levels = field.strip().replace("-", "_"), [x.strip() for x in levels.split(",")]
        if not field or not all(levels):
            raise InputError(f"`grid` must be FIELD=VALUE,VALUE,..., got {word!r}")
        if field in found:
            raise InputError(f"`grid` must name a field once, got {field!r} twice")
        found[field] = tuple(levels)
    return found


def _flat(config: Any) -> dict[str, Any]:
    """Settings by their dotted names; of a tuple, its values in one string."""
    flat: dict[str, Any] = flatten_dict(settings(config), sep=".")
    return {
        field: " ".join(map(str, value)) if isinstance(value, list) else value
        for field, value in flat.items()
    }


def _words(field: str, level: str, known: Any) -> list[str]:
    """The flag that sets a field: of a switch, ``--data.flip`` or ``--data.no-flip``."""
    if not isinstance(known, bool):
        return [f"--{field}", *shlex.split(level)]
    if level.lower() not in ("true", "false"):
        raise InputError(f"`grid`: `{field}` must be True or False, got {level!r}")
    *above, name = field.split(".")
    return [f"--{'.'.join([*above, name if level.lower() == 'true' else f'no-{name}'])}"]


def _label(values: Mapping[str, Any]) -> str:
    """A name for a directory: ``model.columns-1_seed-0``."""
    parts = (f"{field}-{value}" for field, value in values.items())
    return "_".join(re.sub(r"[^\w.+-]+", "-", part) for part in parts)


def _no_such_field(name: str, field: str, known: Mapping[str, Any]) -> str:
    if field == "seed":
        return "`grid` must leave out `seed`: --seeds N takes N of them"
    near = difflib.get_close_matches(field, known, n=1)
    by_end = [other for other in known if other.split(".")[-1] == field]
    hint = (by_end or near or [None])[0]
    meant = f"did you mean `{hint}`?" if hint else f"`make experiment NAME={name} ARGS=--help`"
    return f"`grid`: {name} has no setting `{field}`; {meant}"
