"""What the guides show, runs; the values behind their arrows are right; their pictures are made.

Run as a script it makes the pictures anew: ``python -m tests.test_guide fractal_nets gallery``.
"""

import ast
import os
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

DOCS = Path(__file__).parent.parent / "docs"
GUIDES = sorted(DOCS.rglob("*.md"))


OF_SCRIPTS = {"workflow.svg"}
OF_EXPERIMENTS = {"cifar_fractal.png", "regression_hmc.png", "report.png", "runs.png"}


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def pictures(text):
    return set(re.findall(r"\]\((?:docs/)?(\w+\.(?:svg|png))\)", text))


def blocks_of_elsewhere(text):
    """Blocks with a title: it names what they need, which may be missing here."""
    return re.findall(r'```python title=".+"\n(.*?)```', text, flags=re.DOTALL)


def agree(value, expected):
    """Arrays up to their rounding, anything else exactly."""
    if isinstance(value, jax.Array | np.ndarray):
        return np.shape(value) == np.shape(expected) and np.allclose(value, expected, atol=1e-6)
    return value == expected


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
@pytest.mark.parametrize(
    "guide",
    [path for path in GUIDES if blocks(path.read_text(encoding="utf-8"))],
    ids=lambda path: str(path.relative_to(DOCS).with_suffix("")),
)
def test_the_guide_runs_as_it_stands(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    text = guide.read_text(encoding="utf-8")
    arrows = [arrow for block in blocks(text) for arrow in run(block, names)]
    assert len(arrows) == text.count("  # → ")
    for source, value, expected in arrows:
        assert agree(value, expected), f"{source}: {value}"
    for block in blocks_of_elsewhere(text):
        compile(block, guide.name, "exec")
    made = {path.name for path in tmp_path.iterdir()}
    shown = pictures(text)
    # The README shows what an experiment drew, and so may a page.
    assert made <= shown <= made | {*OF_SCRIPTS, *OF_EXPERIMENTS}
    assert {name for name in made if not (DOCS / name).exists()} == set()


def test_every_picture_is_shown():
    pages = [*GUIDES, DOCS.parent / "README.md"]
    shown = {name for page in pages for name in pictures(page.read_text(encoding="utf-8"))}
    assert shown == {path.name for path in DOCS.iterdir() if path.suffix in {".svg", ".png"}}


if __name__ == "__main__":
    os.chdir(DOCS)
    for guide in sys.argv[1:]:
        names = {}
        for block in blocks(Path(guide).with_suffix(".md").read_text(encoding="utf-8")):
            list(run(block, names))
