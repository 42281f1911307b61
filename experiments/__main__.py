"""``python -m experiments NAME [flags]``: run an experiment; ``--list`` names them all."""

import sys

from experiments import registry

USAGE = """\
usage: python -m experiments NAME [flags]     (NAME --help: its lab note and its flags)

"""


def main(argv: list[str]) -> int:
    """Run the experiment named first, or list them; return the exit code."""
    match argv:
        case ["--list"]:
            print(registry.listing())
            return 0
        case ["-h" | "--help"]:
            print(USAGE + registry.listing())
            return 0
        case [name, *flags] if not name.startswith("-"):
            registry.announce(name, flags)
            from experiments import command  # here, since it brings JAX, which a list can spare

            return command.main(name, flags)
        case _:
            print(USAGE + registry.listing(), file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
