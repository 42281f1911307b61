import sys

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jfractal.data.sources import DataUnavailable, load_table
from jfractal.errors import InputError


def write(folder, split, values):
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": np.array(values)}), folder / f"{split}.parquet")


def column(table):
    return table["x"].to_pylist()


def test_the_users_directory_comes_first_and_shards_in_order(data_directory):
    write(data_directory / "some/set/default", "train-00001-of-00002", [3, 4])
    write(data_directory / "some/set/default", "train-00000-of-00002", [1, 2])
    write(data_directory / "some/set/default", "test", [5])
    write(data_directory / "some/set/default", "training-notes", [6])
    assert column(load_table("some/set", "train")) == [1, 2, 3, 4]
    assert column(load_table("some/set", "test")) == [5]


@pytest.mark.parametrize("users_directory", [None, "data_directory"])
def test_without_the_set_in_the_users_directory_the_cache_is_read(
    users_directory, request, tmp_path, monkeypatch
):
    if users_directory:
        request.getfixturevalue(users_directory)
    calls = []

    def snapshot_download(dataset_id, *, local_files_only=False, **kwargs):
        calls.append((dataset_id, local_files_only))
        return str(tmp_path / "snapshot")

    write(tmp_path / "snapshot", "train", [1])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert column(load_table("some/set", "train")) == [1]
    assert calls == [("some/set", True)]


def test_what_the_cache_lacks_is_downloaded(tmp_path, monkeypatch):
    def snapshot_download(dataset_id, *, local_files_only=False, **kwargs):
        if not local_files_only:
            write(tmp_path / "snapshot", "test", [2])
        return str(tmp_path / "snapshot")

    write(tmp_path / "snapshot", "train", [1])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **kwargs: None)
    assert column(load_table("some/set", "test")) == [2]
    with pytest.raises(DataUnavailable, match="has no split 'validation'"):
        load_table("some/set", "validation")


def test_unreachable_is_not_the_same_as_broken():
    with pytest.raises(DataUnavailable, match=r"some/set \(train\) .* no network$"):
        load_table("some/set", "train")
    assert not issubclass(DataUnavailable, InputError)


def test_offline_mode_is_respected(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.delenv("JFRACTAL_DATA", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(DataUnavailable, match="offline"):
        load_table("some/set", "train")


def test_users_directory_must_be_one(tmp_path, monkeypatch):
    monkeypatch.setenv("JFRACTAL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"JFRACTAL_DATA .*nowhere' does not exist"):
        load_table("some/set", "train")
    (tmp_path / "file").touch()
    monkeypatch.setenv("JFRACTAL_DATA", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"JFRACTAL_DATA .*file' is not a directory"):
        load_table("some/set", "train")


def test_missing_split_in_the_users_directory(data_directory):
    write(data_directory / "some/set", "test", [1])
    with pytest.raises(InputError, match=r"some/set .*none of 'train'"):
        load_table("some/set", "train")


@pytest.mark.parametrize("keep", [0, 3, 100])
def test_truncated_file(data_directory, keep):
    write(data_directory / "some/set", "train", [1, 2, 3])
    file = data_directory / "some/set/train.parquet"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=rf"train\.parquet \({keep} bytes\) is not a complete"):
        load_table("some/set", "train")


def test_damaged_text(data_directory):
    write(data_directory / "some/set", "train", ["f\u00fcr", "und"])
    file = data_directory / "some/set/train.parquet"
    file.write_bytes(file.read_bytes().replace("\u00fc".encode(), b"\xc3\x28"))
    with pytest.raises(InputError, match=r"not a complete parquet file: .*UTF"):
        load_table("some/set", "train")


def test_file_without_rows(data_directory):
    write(data_directory / "some/set", "train", [])
    with pytest.raises(InputError, match=r"train\.parquet: no rows"):
        load_table("some/set", "train")


@pytest.mark.parametrize("package", ["pyarrow", "huggingface_hub"])
def test_missing_package_names_the_extra(package, data_directory, monkeypatch):
    if package == "pyarrow":
        write(data_directory / "some/set", "train", [1])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'jfractal\[data\]'"):
        load_table("some/set", "train")
