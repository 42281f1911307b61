import subprocess
import sys
from pathlib import Path

import pytest

from experiments import registry
from jfractal.errors import InputError

ROOT = Path(__file__).parents[2]


def test_names_are_the_experiments_and_not_the_harness():
    assert "counting" in registry.names()
    assert not registry.HARNESS & set(registry.names())


def test_harness_is_what_it_says():
    modules = {path.stem for path in (ROOT / "experiments").iterdir()}
    assert modules >= registry.HARNESS


def test_summary_is_the_first_line_of_the_note():
    assert registry.summary("counting") == "Count to a number."


def test_listing_has_a_line_for_each():
    lines = registry.listing().splitlines()
    assert [line.split()[0] for line in lines] == registry.names()
    assert any(line.endswith("  Count to a number.") for line in lines)


def test_load_imports():
    assert registry.load("counting").PRESETS.keys() == {"laptop", "paper", "quick"}


@pytest.mark.parametrize(
    ("name", "hint"), [("countin", "did you mean 'counting'?"), ("xyz", "there are: ")]
)
def test_unknown_name_says_what_was_meant(name, hint):
    with pytest.raises(InputError) as error:
        registry.load(name)
    assert hint in str(error.value)


def test_listing_does_not_import_jax():
    code = (
        "import sys; from experiments.__main__ import main; code = main(['--list']);"
        "sys.exit('jax' in sys.modules or code)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("package", ["experiments", "experiments.sweeps"])
def test_the_first_line_comes_before_jax(package):
    code = (
        f"import sys; from {package}.__main__ import main; sys.modules['jax'] = None;"
        "main(['digits_fractal'])"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "digits_fractal: loading JAX\n"
    assert "import of jax halted" in done.stderr
