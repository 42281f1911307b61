"""The self-contained page that shows a run."""

import base64
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import jinja2
from flax.traverse_util import flatten_dict

from experiments.report.outcome import Outcome, Table
from experiments.report.words import Cell, duration, moment, show

LONGEST_LABEL = 40
"""Characters of a cell that stays on one line."""


def render(
    note: str, record: Mapping[str, Any], about: Mapping[str, Cell], outcome: Outcome
) -> str:
    """The report as one HTML page that needs no other file.

    Args:
        note: the lab note, i.e. the experiment's docstring.
        record: the content of config.json.
        about: what ran: ``name``, ``preset``, ``seed``, ``device``, ``seconds``, ``resumed``, and
            what it found in a sentence, ``finding``.
        outcome: what came out.
    """
    return template("page.html.jinja").render(
        note=note.strip(),
        record=record,
        about=about,
        result=outcome.result,
        data_note=outcome.note,
        sections=outcome.sections,
        settings=flatten_dict(record["config"], sep="."),
    )


def render_sweep(record: Mapping[str, Any], table: Table) -> str:
    """The page of a sweep, with links to the pages of its members.

    Args:
        record: the content of sweep.json.
        table: what the members found, averaged over seeds.
    """
    done = sum(member["status"] == "done" for member in record["members"])
    return template("sweep.html.jinja").render(record=record, table=table, done=done)


def template(name: str) -> jinja2.Template:
    """A page to be filled in."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.tests["numeric"] = lambda value: isinstance(value, Real)
    environment.tests["prose"] = lambda cell: len(str(cell)) > LONGEST_LABEL
    environment.tests["a_version_of"] = is_version
    environment.filters |= {"show": show, "moment": moment, "duration": duration}
    environment.filters["png"] = lambda picture: base64.b64encode(picture.png()).decode()
    return environment.get_template(name)


def is_version(dataset: str, requested: str) -> bool:
    """Whether a data set is the requested one with departures, ``CIFAR-10 (JPEG copy)``."""
    letters = lambda name: "".join(filter(str.isalnum, name.lower()))
    return letters(dataset).startswith(letters(requested))
