"""``python -m experiments.sweeps NAME [flags]``: an experiment over settings and seeds."""

import sys

from experiments import registry

USAGE = """\
usage: python -m experiments.sweeps NAME [flags]     (NAME --help: the flags)
"""


def main(argv: list[str]) -> int:
    """Sweep over the experiment named first, or list them all; return the exit code."""
    match argv:
        case [name, *flags] if not name.startswith("-"):
            registry.announce(name, flags)
            from experiments.sweeps import command  # here, since it brings JAX

            return command.main(name, flags)
        case _:
            is_asked = argv in (["-h"], ["--help"])
            text = f"{USAGE}\n{registry.listing()}"
            print(text, file=sys.stdout if is_asked else sys.stderr)
            return 0 if is_asked else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
