"""Files that are damaged, forged or something else: a sentence each."""

import io
import json
import struct

import numpy as np
import pytest

import jfractal as jf
from jfractal.array_files import read_arrays
from jfractal.reference import ABOUT

PRIOR = jf.priors.Gaussian(1.0)
PROBS = np.random.default_rng(0).dirichlet(np.ones(3), 50).astype(np.float32)


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def forged(shape):
    """An ``.npy`` whose head claims more than there is."""
    head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + bytes(64)


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


HALF = len(npz(probs=PROBS)) // 2
DAMAGED = {
    "truncated.npz": npz(probs=PROBS)[:HALF],
    "flipped.npz": flipped(npz(probs=PROBS), HALF),
    "head.npz": flipped(npz(probs=PROBS), 2),
    "two.npz": npz(a=PROBS, b=PROBS),
    "none.npz": npz(),
    "binary.npz": bytes(range(256)) * 4,
    "empty.npz": b"",
    "truncated.npy": npy(PROBS)[:-40],
    "forged.npy": forged((10**13,)),  # 80 TB
    "negative.npy": forged((-3, 3)),
    "broken.npy": b"\x93NUMPY\x01\x00\x10\x00{'descr': broken",
    "objects.npy": npy(np.array([None, {}], object)),
    "binary.npy": bytes(range(256)),
    "binary.csv": bytes(range(256)) * 4,
    "ragged.csv": b"0.5,0.5\n0.1\n",
    "words.csv": b"a,b\nc,d\n",
    "empty.csv": b"",
    "nan.csv": b"nan,0.5\n0.5,0.5\n",
    "nothing.csv": b"p0,p1\n",
    "table.json": b'{"probs": [[0.5, 0.5]]}',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_tables_are_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    with pytest.raises(jf.InputError, match=f"^`path`: .*{name}"):
        jf.reference.load_probs(path)


def test_a_member_of_an_archive_that_claims_too_much_is_refused(tmp_path):
    import zipfile

    path = tmp_path / "forged.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("probs.npy", forged((10**13,)))
    with pytest.raises(jf.InputError, match=r"^`path`: cannot read "):
        read_arrays(path)


@pytest.mark.parametrize("name", ["missing.csv", "missing.npz", "."])
def test_what_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(jf.InputError, match=r"^`path`: cannot read "):
        jf.reference.load_probs(tmp_path / name)


def test_a_head_of_a_table_is_known_by_its_words(tmp_path):
    for head in ("", "cat,dog,owl\n", "p0,p1,p2\n"):
        path = tmp_path / "probs.csv"
        path.write_text(head + "\n".join(",".join(map(repr, map(float, row))) for row in PROBS))
        np.testing.assert_allclose(jf.reference.load_probs(path), PROBS, atol=1e-6)


NO_REFERENCE = ["{", "[1]", "null", "3", json.dumps({"net": "Dense"}), "[" * 200_000]
NO_REFERENCE += [json.dumps(dict.fromkeys(ABOUT, x)) for x in ([], None, "x", 3)]


@pytest.mark.parametrize("about", NO_REFERENCE, ids=lambda about: about[:20])
def test_what_is_no_reference_is_refused(tmp_path, about):
    path = tmp_path / "reference.npz"
    arrays = {"outputs": np.zeros((2, 3, 4, 1)), "warmup_gradients": np.zeros(2)}
    path.write_bytes(npz(about=np.array(about), **arrays))
    model = jf.Model(lambda v, x: x, prior=PRIOR, likelihood=jf.likelihoods.Gaussian(1.0))
    data = np.zeros((4, 2), np.float32), np.zeros((4, 1), np.float32)
    with pytest.raises(jf.InputError, match=r"^`path`: .* is not a reference"):
        jf.reference.load(path, model, data, data[0])


@pytest.mark.parametrize(
    "dataset_id", ["../secrets", "/etc/passwd", "a/../../b", "a/b/c", "a\\b", ".hidden", "", "a/.."]
)
def test_ids_of_data_lead_nowhere_else(tmp_path, monkeypatch, dataset_id):
    (tmp_path / "data").mkdir()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "train.parquet").write_bytes(b"")
    monkeypatch.setenv("JFRACTAL_DATA", str(tmp_path / "data"))
    with pytest.raises(jf.InputError, match=r"^`dataset_id` must be a name"):
        jf.data.load_table(dataset_id, "train")
    with pytest.raises(jf.InputError, match=r"^`split` must be a name"):
        jf.data.load_table("uoft-cs/cifar10", "../train")
