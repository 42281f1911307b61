"""A run whose files were damaged is refused in one sentence, or goes on to the same end."""

import json
import shutil

import pytest

from experiments.__main__ import main
from tests.test_array_files import flipped, forged


def call(kind, directory, *flags):
    return main(["fitting", "--kind", kind, "--out", str(directory), *flags])


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """Runs by kind, each made once."""
    made = {}

    def copied(kind, directory):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("complete") / kind
            assert call(kind, made[kind]) == 0
        shutil.copytree(made[kind], directory)

    return copied


def is_refused(kind, directory, capsys):
    capsys.readouterr()
    assert call(kind, directory, "--resume") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: `") and error.count("\n") == 1
    return error


def replaced(path, content):
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if content == "a folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)


def altered(**fields):
    """Changes the fields of a record."""
    return lambda content: json.dumps({**json.loads(content), **fields}).encode()


BLOB = bytes(range(256)) * 8
HALF = lambda content: content[: len(content) // 2]
FLIPPED = lambda content: flipped(content, len(content) // 2)

DAMAGED = {
    ("classification", "config.json"): {
        "empty": b"",
        "half": HALF,
        "binary": BLOB,
        "a list": b"[1]",
        "null": b"null",
        "nothing": b"{}",
        "a number for a name": altered(name=3),
        "a word for a number": altered(number="one"),
        "no settings": altered(config=None),
        "a word for the device": altered(device="cpu"),
        "nested": b"[" * 200_000,
        "a folder": "a folder",
    },
    ("classification", "metrics.jsonl"): {
        "words": b"so far so good\n",
        "half a row within": b'{"step": 1, "lo\n{"step": 2}\n',
        "binary": BLOB,
        "a list": b"[1]\n",
        "a word for a step": b'{"step": "first"}\n',
        "nested": b"[" * 200_000 + b"\n",
        "missing": None,
        "a folder": "a folder",
    },
    ("classification", "checkpoints"): {"a file": BLOB},
    ("classification", "checkpoints/net/step-*.npz"): {
        "half": HALF,
        "flipped": FLIPPED,
        "binary": BLOB,
        "80 TB": forged((10**13,)),
        "empty": b"",
    },
    ("sweep", "checkpoints/MAP_1.npz"): {
        "half": HALF,
        "flipped": FLIPPED,
        "binary": BLOB,
        "80 TB": forged((10**13,)),
        "a folder": "a folder",
    },
    ("NUTS", "checkpoints/chains/state.npz"): {
        "half": HALF,
        "flipped": FLIPPED,
        "binary": BLOB,
        "missing": None,
        "a folder": "a folder",
    },
    ("NUTS", "checkpoints/chains/draws.npy"): {
        "half": HALF,
        "flipped": FLIPPED,
        "binary": BLOB,
        "80 TB": forged((10**13,)),
        "missing": None,
        "a folder": "a folder",
    },
}
CASES = [(*where, how) for where, spoils in DAMAGED.items() for how in spoils]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name", "how"), CASES)
def test_damaged_files_are_refused(tmp_path, complete, capsys, kind, name, how):
    directory, spoil = tmp_path / "run", DAMAGED[kind, name][how]
    complete(kind, directory)
    paths = list(directory.glob(name))
    assert paths
    for path in paths:
        replaced(path, spoil(path.read_bytes()) if callable(spoil) else spoil)
    error = is_refused(kind, directory, capsys)
    assert str(directory / name).rpartition("/")[0] in error


@pytest.mark.slow
def test_results_of_another_origin_are_refused(tmp_path, complete, capsys):
    complete("sweep", tmp_path / "run")
    complete("classification", tmp_path / "other")
    checkpoint = tmp_path / "other/checkpoints/net/step-00000060.npz"
    shutil.copy(checkpoint, tmp_path / "run/checkpoints/MAP_1.npz")
    assert "is of another origin" in is_refused("sweep", tmp_path / "run", capsys)


FOREIGN = ["step-00000099.npz", ".step-00000099.npz.1.part", "notes"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*it is passed over")
def test_what_lies_among_the_checkpoints_does_no_harm(tmp_path, complete):
    directory = tmp_path / "run"
    complete("classification", directory)
    whole = [(directory / name).read_text() for name in ("rows.jsonl", "metrics.jsonl")]
    checkpoints = directory / "checkpoints/net"
    for name in FOREIGN:
        (checkpoints / name).mkdir()
    (checkpoints / "step-notes.npz").write_text("not one of ours")
    (checkpoints / "step-00000060.npz").write_bytes(BLOB)
    assert call("classification", directory, "--resume") == 0
    assert whole == [(directory / name).read_text() for name in ("rows.jsonl", "metrics.jsonl")]
    assert all((checkpoints / name).is_dir() for name in FOREIGN)
