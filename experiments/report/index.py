"""One page over all runs of a directory: to filter, to sort, to compare."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from markupsafe import Markup

from experiments.report.page import template
from experiments.report.runs import Entry, SweepEntry, entries, sweeps
from experiments.report.words import moment
from jfractal.errors import InputError


def write_index(root: Path) -> tuple[Path, list[str]]:
    """Write ``root/index.html``.

    Returns:
        Its path, and a sentence on each thing amiss in the directory.

    Raises:
        InputError: the directory is not there, or cannot be written.
    """
    if not root.is_dir():
        raise InputError(f"there are no runs in {root}: run an experiment first")
    (found, amiss), (of_sweeps, damaged) = entries(root), sweeps(root)
    amiss += damaged
    page = root / "index.html"
    try:
        page.write_text(render_index(found, of_sweeps, amiss), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {page}: {error.strerror}") from error
    return page, amiss


def render_index(found: list[Entry], of_sweeps: list[SweepEntry], amiss: list[str]) -> str:
    """The page; it needs no other file, but links to the reports of runs and sweeps."""
    content = json.dumps([asdict(entry) for entry in found], allow_nan=False)
    return template("index.html.jinja").render(
        amiss=amiss,
        sweeps=of_sweeps,
        number=len(found),
        made=moment(datetime.now().isoformat()),
        # Within a script, nothing but the end of it has a meaning.
        content=Markup(content.replace("<", "\\u003c")),
        script=Markup((Path(__file__).parent / "index.js").read_text(encoding="utf-8")),
    )
