"""What the guide shows, runs; the values behind its arrows are right; its pictures are made.

Run as a script it makes the pictures anew.
"""

import ast
import os
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "fractal_nets.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


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
def test_the_guide_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    arrows = [arrow for block in BLOCKS for arrow in run(block, names)]
    assert len(arrows) == TEXT.count("  # → ")
    for source, value, expected in arrows:
        assert value == expected, source
    shown = set(re.findall(r"\]\((\w+\.svg)\)", TEXT))
    assert shown == {path.name for path in tmp_path.iterdir()}
    assert shown == {path.name for path in DOCS.glob("*.svg")}


if __name__ == "__main__":
    os.chdir(DOCS)
    names = {}
    for block in BLOCKS:
        list(run(block, names))
