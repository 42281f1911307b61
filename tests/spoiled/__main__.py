"""``python -m tests.spoiled [TABLE ...]``: the faults of each table, its calls, and what they call.

A process of its own, because the tests check annotations at run time, and would refuse in the place
of the functions.
"""

import importlib
import json
import sys

from tests.spoiled import TABLES
from tests.spoiled.public import public_callables, reached

PUBLIC = {id(thing): name for name, thing in public_callables().items()}

for table in sys.argv[1:] or TABLES:
    outcomes, names = [], set()
    for call in importlib.import_module(f"tests.spoiled.{table}").calls():
        names |= {PUBLIC[id(thing)] for thing in [*reached(call.function)] if id(thing) in PUBLIC}
        outcomes += call.faults()
    faults = [str(outcome) for outcome in outcomes if outcome]
    found = {"table": table, "calls": len(outcomes), "faults": faults, "names": sorted(names)}
    print(json.dumps(found), flush=True)
