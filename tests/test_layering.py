"""Dependencies point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the ground up; modules on one line are on one floor. Metrics are functions of arrays that
# know nothing of nets, and stand below what reports them.
FLOORS = [
    {"typing", "errors", "concrete"},
    {"arguments", "counts", "forked", "identity", "interrupts", "lock", "out_of_memory"},
    {"progress", "summary"},
    {"array_files", "storage"},
    {"topology"},
    {"ops", "metrics"},
    {"predictions"},
    {"posterior", "likelihoods"},
    {"priors"},
    {"nn"},
    {"inference"},
    {"predict", "testing"},
    {"anytime", "reference"},
    {"viz"},
    {"data"},
    {"training"},
    {"bibliography"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
FILES = sorted((ROOT / "jfractal").rglob("*.py"))


def imported_modules(path):
    """Dotted names of all modules that a file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                raise AssertionError(f"{path}: a relative import")


def part(name):
    """The part of the package that a dotted name belongs to: ``jfractal.nn.block`` → ``nn``."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == "jfractal" else None


def modules():
    """The files of the package by the part they belong to; the facade stands above all."""
    for path in FILES:
        name = path.relative_to(ROOT / "jfractal").with_suffix("").parts[0]
        if name != "__init__":
            yield pytest.param(path, name, id=str(path.relative_to(ROOT)))


@pytest.mark.parametrize(("path", "name"), list(modules()))
def test_no_import_points_up(path, name):
    assert name in LEVEL, f"{name} has no floor"
    for imported in imported_modules(path):
        assert not imported.startswith(("experiments", "tests", "benchmarks")), imported
        if other := part(imported):
            is_inside = other == name
            assert is_inside or LEVEL[other] < LEVEL[name], f"{path} imports {imported}"


def test_topology_is_plain_python():
    files = (ROOT / "jfractal/topology").glob("*.py")
    modules = {name for path in files for name in imported_modules(path)}
    assert {name.partition(".")[0] for name in modules}.isdisjoint({"jax", "flax", "numpy"})
    assert {part(name) for name in modules} == {None, "topology", "errors", "counts"}


def test_a_file_is_one_noun():
    assert not [
        path for path in FILES if path.stem in ("utils", "util", "helpers", "common", "misc")
    ]


def test_files_of_the_package_are_short():
    assert not [path for path in FILES if len(path.read_text("utf-8").splitlines()) >= 300]


def test_the_import_leaves_jax_to_be_configured():
    """Devices and precision are the caller's to choose, which is too late once JAX has started."""
    code = "import jfractal; from jax._src import xla_bridge as b; assert not b._backends"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_import_leaves_out_what_few_need():
    """Each of these would make `import jfractal` a tenth to a half longer."""
    late = ["matplotlib", "scipy.stats", "flax.nnx"]
    code = f"import sys, jfractal; assert not set({late}) & set(sys.modules)"
    code += "; jfractal.viz.curves, jfractal.testing.Draws; assert 'viz' in dir(jfractal)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
