"""What the guides show, runs; the values behind their arrows are right; their pictures are made.

Run as a script it makes the pictures anew.
"""

import ast
import os
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
GUIDES = sorted(DOCS.glob("*.md"))


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def run(block, names):
    """Executes a block; yields (source, value, expected) for each line with an arrow."""
    lines = block.splitlines()
    for statement in ast.parse(block).body:
        source = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
        code, _, expected = source.partition("  # → ")
        if expected:
            yield code, eval(code, names), eval(expected, names)
        else:
            exec(source, names)


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_the_guide_runs_as_it_stands(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    text = guide.read_text(encoding="utf-8")
    arrows = [arrow for block in blocks(text) for arrow in run(block, names)]
    assert len(arrows) == text.count("  # → ")
    for source, value, expected in arrows:
        assert value == expected, source
    shown = set(re.findall(r"\]\((\w+\.svg)\)", text))
    assert shown == {path.name for path in tmp_path.iterdir()}


def test_every_picture_is_shown():
    pages = [*GUIDES, DOCS.parent / "README.md"]
    shown = {
        name
        for page in pages
        for name in re.findall(r"\]\((?:docs/)?(\w+\.svg)\)", page.read_text(encoding="utf-8"))
    }
    assert shown == {path.name for path in DOCS.glob("*.svg")}


if __name__ == "__main__":
    os.chdir(DOCS)
    for guide in GUIDES:
        names = {}
        for block in blocks(guide.read_text(encoding="utf-8")):
            list(run(block, names))
