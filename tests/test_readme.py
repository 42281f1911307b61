"""What the README shows, runs."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_examples_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(BLOCKS[0], names)
    prediction = names["p"]
    assert prediction.samples.shape == (100, 3, 2)
    assert prediction.probs[0, 0] > 0.9 and prediction.probs[2, 1] > 0.9
    assert np.argmax(prediction.entropy) == 1  # least sure at the boundary
    names |= {"images": names["jax"].random.normal(names["key"], (2, 32, 32, 3))}
    exec(BLOCKS[1], names)
    assert (tmp_path / "block.svg").exists()


def test_the_first_example_is_short():
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 20
