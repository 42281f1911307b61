import numpy as np
import pytest

from jfractal import InputError
from jfractal.data import load_mushrooms, load_regression, standard_splits


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JFRACTAL_DATA", str(tmp_path))
    return tmp_path / "uci"


def write(folder, **files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)


def test_columns_are_those_that_the_indices_name(folder):
    write(folder / "yacht", data="1 2 3\n4 5 6\n", index_features="2\n0\n", index_target="1")
    data = load_regression("yacht")
    assert (data.name, data.requested, data.note) == ("yacht (UCI)", "yacht", "")
    np.testing.assert_array_equal(data.features, [[3, 1], [6, 4]])
    np.testing.assert_array_equal(data.targets, [2, 5])


def test_a_table_with_a_header_is_read_by_its_names(folder):
    (folder.parent / "bde").mkdir()
    lines = ["cnt,instant,dteday,temp,casual,registered,hum"]
    lines += [f"{n},{n},2011-01-0{n},0.{n},1,2,0.5" for n in (1, 2, 3)]
    (folder.parent / "bde" / "bikesharing_hour.csv").write_text("\n".join(lines))
    data = load_regression("bikesharing")
    assert (data.name, data.note) == ("bikesharing (UCI)", "")
    np.testing.assert_array_equal(data.features, [[0.1, 0.5], [0.2, 0.5], [0.3, 0.5]])
    np.testing.assert_array_equal(data.targets, [1, 2, 3])
    (folder.parent / "bde" / "airfoil.csv").write_text("angle,noise\n1,2\n")
    with pytest.raises(InputError, match=r"must have a column 'target', got .*'noise'"):
        load_regression("airfoil")


def test_standard_splits_are_those_of_the_published_code():
    train, test = standard_splits(506, num_splits=3)
    assert train.shape == (3, 455) and test.shape == (3, 51)
    for rows in np.concatenate([train, test], axis=1):
        np.testing.assert_array_equal(np.sort(rows), np.arange(506))
    # The published generator, run on its own: one stream for all splits of a set.
    random = np.random.RandomState(1)
    random.choice(506, 506, replace=False)
    second = random.choice(506, 506, replace=False)
    np.testing.assert_array_equal(train[1], second[:455])
    np.testing.assert_array_equal(standard_splits(506, num_splits=2)[0], train[:2])


def test_a_category_is_one_feature_and_a_missing_one_too(folder):
    (folder / "mushroom").mkdir(parents=True)
    lines = ["e," + ",".join("a" * 22), "p," + ",".join("?" + "a" * 21), ""]
    (folder / "mushroom" / "agaricus-lepiota.data").write_text("\n".join(lines))
    data = load_mushrooms()
    assert data.features.shape == (2, 23)
    np.testing.assert_array_equal(data.features.sum(1), [22, 22])
    np.testing.assert_array_equal(data.features[:, :2], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(data.targets, [1, 0])


@pytest.mark.parametrize("load", [lambda **k: load_regression("energy", **k), load_mushrooms])
def test_without_the_set_another_stands_in_and_says_so(folder, load):
    folder.mkdir()
    with pytest.warns(UserWarning, match="is not available, this is"):
        data = load()
    assert data.requested in ("energy", "mushroom") and data.requested not in data.name
    assert len(data.features) == len(data.targets) > 400 and data.note
    with pytest.raises(InputError, match="set JFRACTAL_DATA to a directory that holds uci/"):
        load(strict=True)


def test_bad_input(folder, monkeypatch):
    with pytest.raises(InputError, match=r"`name` must be one of .*boston, .* got 'bostn'"):
        load_regression("bostn")
    write(folder / "wine-quality-red", data="1 2\n3\n", index_features="0", index_target="1")
    with pytest.raises(InputError, match=r"data\.txt cannot be read as a table of numbers"):
        load_regression("wine")
    with pytest.raises(InputError, match="`num_rows` must be at least 2, got 1"):
        standard_splits(1)
    monkeypatch.setenv("JFRACTAL_DATA", str(folder / "nowhere"))
    with pytest.raises(InputError, match="JFRACTAL_DATA must name a directory"):
        load_regression("wine")
