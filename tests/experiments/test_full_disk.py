"""A disk that fills at any byte: one sentence, and the run that goes on has every row and bit.

The kernel refuses to let a file grow beyond a limit, as it does on a full disk: in the middle of
whatever is being written then.
"""

import contextlib
import resource

import numpy as np
import pytest

from tests.experiments.test_interrupted import call, left

KINDS = ("classification", "NUTS", "sweep")


@contextlib.contextmanager
def files_of_at_most(num_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(num_bytes), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def largest(directory):
    return max(path.stat().st_size for path in directory.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_loses_nothing(tmp_path, capsys, kind):
    assert call(kind, tmp_path / "whole") == 0
    whole, most = left(tmp_path / "whole"), largest(tmp_path / "whole")
    for limit in np.geomspace(50, most, 6, endpoint=False):
        directory = tmp_path / f"{limit:.0f}"
        with files_of_at_most(limit):
            code = call(kind, directory)
        said = capsys.readouterr().err
        assert code == 2, said
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "cannot write" in lines[0] and str(directory) in lines[0], said
        assert "Traceback" not in said
        assert call(kind, directory) == 0
        assert left(directory) == whole, limit
