"""Files that give back what was written, bit for bit, or say that they are damaged."""

import os
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jfractal as jf
from jfractal import storage

TREE = {
    "float": jnp.array([1.5, -0.0, jnp.nan]),
    "half": jnp.arange(3, dtype=jnp.bfloat16),
    "eight": jnp.arange(3, dtype=jnp.float8_e4m3fn),
    "scalar": jnp.float16(2.0),
    "empty": jnp.zeros((0, 3)),
    "bool": np.array([1, 0], bool),
    "big-endian": np.arange(3, dtype=">f4"),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "key": jax.random.key(3),
    "plain": (1, 2.5, "ü", None, True),
    "nested": [{"a/b": np.int8(1)}, [np.uint8(2)]],
    "numbered": {3: 1, "3": 2},
}


def assert_same(one, other):
    if isinstance(one, jax.Array) and jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = jax.random.key_data(one), jax.random.key_data(other)
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype.newbyteorder("=") == other.dtype and one.shape == other.shape
    np.testing.assert_array_equal(one.astype(other.dtype), other)
    np.testing.assert_array_equal(np.signbit(one), np.signbit(other))


def test_a_tree_comes_back(tmp_path):
    path = tmp_path / "ein Verzeichnis mit Ümläuten" / "tree.npz"
    with jax.enable_x64(True):
        storage.save(path, TREE)
        back = jf.load(path)
    assert list(back) == list(TREE)
    plain = ("plain", "numbered")
    assert [back[name] for name in plain] == [TREE[name] for name in plain]
    arrays = lambda tree: {name: x for name, x in tree.items() if name not in plain}
    jax.tree.map(assert_same, arrays(TREE), arrays(back))


def test_every_damaged_byte_is_found(tmp_path):
    """Or does no harm, as in the time stamp of the archive."""
    path, spoiled = tmp_path / "good.npz", tmp_path / "bad.npz"
    arrays = {"a": np.arange(5.0), "b": np.array([1, 2], np.int8)}
    storage.write(path, arrays, {"step": 3})
    content, found = path.read_bytes(), 0
    for i in range(len(content)):
        spoiled.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        try:
            read, about = storage.read(spoiled)
        except jf.InputError as error:
            assert "damaged" in str(error)
            found += 1
        else:
            assert about == {"step": 3} and read.keys() == arrays.keys()
            assert all((read[name] == x).all() for name, x in arrays.items())
    assert found > len(content) / 2


def test_every_truncation_is_found(tmp_path):
    path = tmp_path / "good.npz"
    storage.write(path, {"a": np.arange(5.0)}, {})
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(jf.InputError, match="damaged"):
            storage.read(path)


def test_a_forged_header_is_refused(tmp_path):
    """An array of 80 TB in a small file."""
    path, forged = tmp_path / "good.npz", tmp_path / "forged.npz"
    storage.write(path, {"a": np.arange(5.0)}, {})
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(forged, "w") as into:
        for name in archive.namelist():
            huge = archive.read(name).replace(b"(5,), }" + b" " * 13, b"(10000000000000,), }")
            into.writestr(name, huge)
    with pytest.raises(jf.InputError, match="damaged"):
        storage.read(forged)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "tree.npz"
    storage.save(path, {"a": np.zeros(3)})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(jf.InputError, match=r"cannot write .*: No space left on device"):
        storage.save(path, {"a": np.ones(3)})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["tree.npz"]
    np.testing.assert_array_equal(jf.load(path)["a"], np.zeros(3))


@pytest.mark.parametrize("x", [object(), np.array([None]), np.array(["a"]), {"a": {1, 2}}])
def test_what_cannot_be_saved(tmp_path, x):
    with pytest.raises(jf.InputError, match="to be saved, got "):
        storage.save(tmp_path / "tree.npz", x)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(jf.InputError, match=r"`path`: there is no file .*none"):
        jf.load(tmp_path / "none")
    with pytest.raises(jf.InputError, match=r"`path`: .* is damaged or not a file of jfractal"):
        jf.load(tmp_path)
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    with pytest.raises(jf.InputError, match="is damaged or not a file of jfractal"):
        jf.load(tmp_path / "foreign.npz")
    storage.write(tmp_path / "arrays.npz", {"a": np.zeros(3)}, {})
    with pytest.raises(jf.InputError, match="holds neither a posterior nor a tree"):
        jf.load(tmp_path / "arrays.npz")


@pytest.mark.parametrize(
    "tree",
    [
        {"array": "none"},
        {"array": [1]},
        {"class": "Gaussian", "fields": {}},
        {"class": "Gaussian", "fields": [1]},
        {"dict": [[1]]},
        {"dict": [[{"list": []}, 1]]},
        {"key": 3, "impl": "x"},
        {"list": 3},
    ],
)
def test_a_forged_description_is_refused(tmp_path, tree):
    """Its checksum is right."""
    storage.write(tmp_path / "forged.npz", {}, {"tree": tree})
    with pytest.raises(jf.InputError, match=r"^`path`: .*forged\.npz is damaged or not a file"):
        jf.load(tmp_path / "forged.npz")
