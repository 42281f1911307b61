"""Draws on disk: nothing is lost, nothing wrong is read back, nothing of others is overwritten."""

from functools import partial

import jax
import numpy as np
import pytest

import jfractal as jf
from jfractal.inference.mcmc.draw_store import DrawStore
from jfractal.lock import Lock
from tests.inference.mcmc.conftest import prior_alone

KEY = jax.random.key(4)
SHORT = {"num_warmup": 30, "num_draws": 20}

hmc = partial(jf.hmc, trajectory_length=1.5)


class Cut(Exception):
    """The process ends here."""


@pytest.mark.parametrize(
    ("looks", "impl"), [(2, "threefry2x32"), (6, "rbg")]
)  # in warm-up and after it
def test_a_run_that_was_cut_off_has_the_draws_of_one_that_was_not(
    problem, target, tmp_path, monkeypatch, looks, impl
):
    options = {"starts": problem.start, "num_warmup": 30, "num_draws": 60}
    run = lambda directory: hmc(
        *target, jax.random.key(4, impl=impl), directory=directory, **options
    )
    whole = run(None)
    keep, left = DrawStore.keep, iter(range(looks))

    def cut(store, *arguments, **options):
        if next(left, None) is None:
            raise Cut
        keep(store, *arguments, **options)

    monkeypatch.setattr(DrawStore, "keep", cut)
    with pytest.raises(Cut):
        run(tmp_path)
    monkeypatch.setattr(DrawStore, "keep", keep)
    resumed = run(tmp_path)
    assert isinstance(resumed.params["bias"], np.memmap)
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)
    jax.tree.map(np.testing.assert_array_equal, whole, run(tmp_path))  # nothing is left to do
    jf.sample_outputs(problem.net.apply, resumed, problem.x, KEY, num_samples=3)


@pytest.fixture
def call(problem, target, tmp_path):
    """A call, as keywords; its chains lie in a directory."""
    model, data = target
    return {
        "model": model,
        "data": data,
        "key": KEY,
        "starts": problem.start,
        "directory": tmp_path,
        **SHORT,
    }


def test_the_directory_of_another_run_is_refused(call):
    hmc(**call)
    flat = prior_alone(jf.priors.Gaussian(1.0))
    for change, reason in [
        ({"num_draws": 21}, "plan"),
        ({"target_accept": 0.9}, "kernel"),
        ({"key": jax.random.key(5)}, "key"),
        ({"temperature": 2.0}, "temperature"),
        ({"where": lambda path, leaf: path == "kernel"}, "shape"),
        ({"model": flat[0], "data": flat[1]}, "log joint where the chains start"),
    ]:
        with pytest.raises(jf.InputError, match=f"another {reason}"):
            hmc(**{**call, **change})


def test_a_directory_that_cannot_be_written_is_refused(call, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(jf.InputError, match="file"):
        hmc(**{**call, "directory": tmp_path / "file"})


@pytest.mark.parametrize("name", ["draws.npy", "state.npz"])
def test_files_of_others_are_refused_and_stay(call, tmp_path, name):
    np.save(tmp_path / "theirs.npy", np.ones(3))
    (tmp_path / "theirs.npy").rename(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(jf.InputError, match=name):
        hmc(**call)
    assert (tmp_path / name).read_bytes() == before


def test_a_directory_that_another_process_works_in_is_refused(call, tmp_path):
    with Lock(tmp_path), pytest.raises(jf.InputError, match="another process works in"):
        hmc(**call)
    hmc(**call)


def flipped(content):
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


@pytest.mark.parametrize("name", ["draws.npy", "state.npz"])
@pytest.mark.parametrize(
    "spoil", [flipped, lambda content: content[: len(content) // 2], lambda content: b""]
)
def test_damaged_files_are_named(call, tmp_path, name, spoil):
    hmc(**call)
    (tmp_path / name).write_bytes(spoil((tmp_path / name).read_bytes()))
    with pytest.raises(jf.InputError, match=f"{name}.* damaged"):
        hmc(**call)


def test_draws_that_are_gone_are_missed(call, tmp_path):
    hmc(**call)
    (tmp_path / "draws.npy").unlink()
    with pytest.raises(jf.InputError, match=r"draws\.npy is missing"):
        hmc(**call)


def test_an_npy_that_claims_more_than_there_is_is_refused(call, tmp_path):
    hmc(**call)
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**7, 10**6, 2)}
    with (tmp_path / "draws.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(jf.InputError, match=r"draws\.npy is .*damaged"):
        hmc(**call)
