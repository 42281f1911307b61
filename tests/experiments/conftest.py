"""Puts the fake experiment among the real ones, in a directory of its own."""

from pathlib import Path

import pytest

import experiments

FAKE = Path(__file__).parent / "fake"


@pytest.fixture(autouse=True)
def counting(monkeypatch, tmp_path):
    """`experiments.counting` can be loaded, and runs go to an empty directory."""
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(FAKE)])
    monkeypatch.chdir(tmp_path)
