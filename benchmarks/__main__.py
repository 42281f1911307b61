"""``python -m benchmarks [ROWS]``: what jfractal costs, each row in units of what it stands for."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import tyro

from benchmarks.row import HEADER, Row, write_json
from benchmarks.training import ACCELERATOR, CPU


@dataclass(frozen=True)
class Options:
    """What to measure."""

    rows: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Names of rows; all if none is named."""
    peers: bool = False
    """Measure beside other libraries, which must be installed (make bench-peers sees to it)."""
    json: Path | None = None
    """File for the rows."""


def main(options: Options) -> int:
    """Measures row by row, printing as they come; returns the exit code."""
    jax.config.update("jax_num_cpu_devices", os.cpu_count())  # each core can be a device
    if options.peers:
        from benchmarks.peers import ROWS
    else:
        from benchmarks import by_hand, half, rows, startup

        ROWS = rows.ROWS | by_hand.ROWS | startup.ROWS | half.ROWS
    if unknown := set(options.rows) - set(ROWS):
        print(f"error: no row {min(unknown)!r}; there are: {', '.join(ROWS)}", file=sys.stderr)
        return 2
    print(HEADER, flush=True)
    scale = CPU if jax.default_backend() == "cpu" else ACCELERATOR
    found: list[Row] = []
    for name in options.rows or ROWS:
        found.append(ROWS[name](scale))
        print(found[-1], flush=True)
        if options.json is not None:
            write_json(found, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
