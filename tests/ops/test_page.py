"""The page of the operations shows what the tests run, and no more.

Run as a script, ``python -m tests.ops.test_page``, it writes the table anew.
"""

from pathlib import Path

from tests.ops.test_transformations import (
    ESTIMATORS,
    NORMS,
    OF_NETS,
    OPERATIONS,
    TRANSFORMATIONS,
)

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
FIRST, LAST = "<!-- the table, written by tests/ops/test_page.py -->\n", "<!-- its end -->\n"

# The columns, and the operations that each stands for.
COLUMNS = {
    "convolution": [name for name in OPERATIONS if name.startswith("conv")],
    "normalisation": [name for name in OPERATIONS if name.startswith("normalize")],
    "`max_pool`": ["max_pool"],
    "`normal`, `bernoulli`": ["normal", "bernoulli"],
    "estimators": list(ESTIMATORS),
}

# Of whole nets, some are run by `tests/nn/test_second_order.py`, and all under `jit`.
SECOND_ORDER = ("jit", "linearize", "forward over reverse", "Gauss-Newton")


def table():
    names = [*COLUMNS, "whole nets"]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for transformation in TRANSFORMATIONS:
        is_run = transformation in (*OF_NETS, *SECOND_ORDER)
        marks = ["✓"] * len(COLUMNS) + ["✓" if is_run else ""]
        lines.append(f"| {transformation} | " + " | ".join(marks) + " |")
    return "\n".join(lines) + "\n"


def test_the_table_is_that_of_the_tests():
    assert {name for names in COLUMNS.values() for name in names} == set(OPERATIONS)
    assert {*OF_NETS, *SECOND_ORDER} <= set(TRANSFORMATIONS)
    text = PAGE.read_text(encoding="utf-8")
    assert text.partition(FIRST)[2].partition(LAST)[0] == table()
    assert all(f"`{name}`" in text for name in (*NORMS, *ESTIMATORS))


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(FIRST)
    PAGE.write_text(before + FIRST + table() + LAST + rest.partition(LAST)[2], encoding="utf-8")
