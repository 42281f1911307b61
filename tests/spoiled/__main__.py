"""``python -m tests.spoiled [TABLE ...]``: the faults of each table, and how many calls there were.

A process of its own, because the tests check annotations at run time, and would refuse in the place
of the functions.
"""

import importlib
import json
import sys

from tests.spoiled import TABLES

for table in sys.argv[1:] or TABLES:
    calls = importlib.import_module(f"tests.spoiled.{table}").calls()
    outcomes = [outcome for call in calls for outcome in call.faults()]
    faults = [str(outcome) for outcome in outcomes if outcome]
    print(json.dumps({"table": table, "calls": len(outcomes), "faults": faults}), flush=True)
