"""Directories as runs leave them, made by hand."""

import json

RECORD = {
    "name": "digits",
    "started": "2026-11-26T06:48:12+00:00",
    "commit": "0123456789abcdef",
    "device": {"kind": "cpu"},
    "versions": {"jax": "0.10.2"},
    "config": {"seed": 0, "quick": False, "train": {"num_epochs": 3, "widths": [4, 8]}},
}
RESULT = {
    "dataset": "digits",
    "dataset_requested": "digits",
    "accuracy": 0.98,
    "best": "column 1",
    "preset": "laptop",
    "seed": 0,
    "seconds": 756.0,
    "resumed": False,
    "finding": "On digits, the highest accuracy is 98 %.",
}


def write(directory, record=RECORD, result=RESULT, losses=(3.0, 2.0, 1.0)):
    """A finished run."""
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(record))
    (directory / "result.json").write_text(json.dumps(result))
    (directory / "report.html").write_text("<!doctype html>")
    rows = [{"net": "MAP", "step": i, "epoch": i / 2, "loss": x} for i, x in enumerate(losses)]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory
