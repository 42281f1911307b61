"""``python -m experiments.report [DIRECTORY]``: one page over all runs, by default of runs/."""

import sys
from pathlib import Path

from experiments.report.index import write_index
from jfractal.errors import InputError


def main(argv: list[str]) -> int:
    """Write the page, print its path, and name what is amiss; return the exit code."""
    if len(argv) > 1 or any(word.startswith("-") for word in argv):
        print("usage: python -m experiments.report [DIRECTORY]", file=sys.stderr)
        return 2
    try:
        page, amiss = write_index(Path(*argv or ["runs"]))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for sentence in amiss:
        print(f"warning: {sentence}", file=sys.stderr)
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
