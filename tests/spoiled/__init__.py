"""Spoiled calls: valid arguments of every public function, one spoiled at a time.

Each ends in a result that makes sense, or in an `InputError` (or a TypeError of ours) whose first
line names the argument. To add a function, add a `Call` with valid arguments to a table; to add a
table, write a module with ``calls()`` and name it in `TABLES`.
"""

TABLES = (
    "of_topology",
    "of_metrics",
    "of_priors",
    "of_posterior",
    "of_models",
    "of_methods",
    "of_chains",
    "of_training",
    "of_predict",
    "of_nn",
    "of_reference",
    "of_data",
    "of_viz",
    "of_testing",
    "of_anytime",
    "of_ops",
)
"""Modules of this package that hold calls."""
