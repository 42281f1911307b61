"""Makes the notebooks: runs each script of this folder in a kernel, and writes what came out.

python -m notebooks                  # all of them, each beside its script
python -m notebooks quickstart tpu
JFRACTAL_QUICK=1 python -m notebooks --directory /tmp/quick
"""

import argparse
import sys
import tempfile
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
SCRIPTS = {path.stem: path for path in sorted(HERE.glob("[!_]*.py"))}
SECONDS_PER_CELL = 600


def unrun(name: str) -> NotebookNode:
    """The notebook that a script is, without outputs."""
    notebook = jupytext.read(SCRIPTS[name], fmt="py:percent")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"  # a random one would be another in every version
    return notebook


def run(name: str) -> NotebookNode:
    """The notebook that a script is, with the outputs of all cells.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    notebook, metadata = unrun(name), dict(unrun(name).metadata)
    with tempfile.TemporaryDirectory() as folder:
        options = {"timeout": SECONDS_PER_CELL, "resources": {"metadata": {"path": folder}}}
        NotebookClient(notebook, record_timing=False, **options).execute()
    notebook.metadata = metadata
    for cell in notebook.cells:
        for said in [o for o in cell.get("outputs", ()) if o.get("name") == "stderr"]:
            cell.outputs.remove(said)  # progress, for whoever waits and not for whoever reads
            print(said.text, end="", file=sys.stderr)
    return notebook


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m notebooks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCRIPTS)}")
    parser.add_argument("--directory", type=Path, default=HERE, help="where to write")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SCRIPTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}: choose from {', '.join(SCRIPTS)}")
    for name in arguments.names or SCRIPTS:
        path = arguments.directory / f"{name}.ipynb"
        jupytext.write(run(name), path, fmt="ipynb")
        print(path, flush=True)


if __name__ == "__main__":
    main()
