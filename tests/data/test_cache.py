from pathlib import Path

import numpy as np
import pytest

from jfractal.data.cache import cache_directory, cached_arrays
from tests.test_array_files import flipped


class Build:
    """Counts how often it is called."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"numbers": np.arange(1000), "words": np.array(["PNG", "JPEG"])}


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "source"
    file.write_bytes(b"content")
    return file


def check(arrays):
    np.testing.assert_array_equal(arrays["numbers"], np.arange(1000))
    assert arrays["words"].tolist() == ["PNG", "JPEG"]


def test_built_once_and_left_without_litter(source):
    build = Build()
    for _ in range(3):
        check(cached_arrays("set", [source], build))
    assert build.calls == 1
    (file,) = cache_directory().iterdir()
    assert file.name.startswith("set-") and file.suffix == ".npz"


def test_the_content_of_the_sources_is_the_key(source, tmp_path):
    build = Build()
    cached_arrays("set", [source], build)
    copy = tmp_path / "elsewhere" / "copy"
    copy.parent.mkdir()
    copy.write_bytes(source.read_bytes())
    cached_arrays("set", [copy], build)
    assert build.calls == 1
    copy.write_bytes(b"Content")
    cached_arrays("set", [copy], build)
    cached_arrays("set", [source, copy], build)
    cached_arrays("set", [copy, source], build)
    assert build.calls == 4


def test_every_damaged_byte_is_found(source):
    """Or does no harm. One in the directory of an archive may hide arrays."""
    cached_arrays("set", [source], Build())
    (file,) = cache_directory().iterdir()
    content = file.read_bytes()
    for place in [*range(0, len(content) - 500, 97), *range(len(content) - 500, len(content))]:
        file.write_bytes(flipped(content, place))
        arrays = cached_arrays("set", [source], Build())
        assert arrays.keys() == {"numbers", "words"}
        check(arrays)


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b"junk", lambda b: b[: len(b) // 2]])
def test_damaged_cache_is_rebuilt(source, damage):
    build = Build()
    cached_arrays("set", [source], build)
    (file,) = cache_directory().iterdir()
    file.write_bytes(damage(file.read_bytes()))
    check(cached_arrays("set", [source], build))
    check(cached_arrays("set", [source], build))
    assert build.calls == 2


def test_flipped_bit_is_noticed(source):
    build = Build()
    cached_arrays("set", [source], build)
    (file,) = cache_directory().iterdir()
    data = bytearray(file.read_bytes())
    data[2000] ^= 1
    file.write_bytes(bytes(data))
    check(cached_arrays("set", [source], build))
    assert build.calls == 2


def test_cache_that_cannot_be_written_is_no_failure(source, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JFRACTAL_CACHE", str(tmp_path / "file"))
    check(cached_arrays("set", [source], Build()))


def test_interrupted_write_leaves_nothing(source, monkeypatch):
    def full_disk(stream, **arrays):
        stream.write(b"part")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    check(cached_arrays("set", [source], Build()))
    assert list(cache_directory().iterdir()) == []


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("JFRACTAL_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_directory() == Path("/a")
    monkeypatch.delenv("JFRACTAL_CACHE")
    assert cache_directory() == Path("/b/jfractal")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path.home() / ".cache/jfractal"
