import os
import signal
import subprocess
import sys

import pytest

import jfractal as jf
from jfractal.lock import Lock

HOLDS = """
import sys, time
from jfractal.lock import Lock
with Lock(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_one_at_a_time(tmp_path):
    refused = pytest.raises(jf.InputError, match=r"`directory`: another process works in .*anew")
    with Lock(tmp_path / "made" / "anew"), refused:
        Lock(tmp_path / "made" / "anew").__enter__()
    with Lock(tmp_path / "made" / "anew"):
        pass


def test_the_dead_hold_no_lock(tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(jf.InputError, match="another process works in"):
            Lock(tmp_path).__enter__()
        process.kill()
        process.wait()
        with Lock(tmp_path):
            pass


FORKS = """
import os, sys, time
from jfractal.lock import Lock
with Lock(sys.argv[1]):
    if (worker := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
    print(worker, flush=True)
    time.sleep(60)
"""


def test_a_worker_of_the_dead_holds_no_lock(tmp_path):
    command = [sys.executable, "-c", FORKS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        worker = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            with Lock(tmp_path):
                pass
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(jf.InputError, match=r"`directory`: cannot write to .*file"):
        Lock(tmp_path / "file").__enter__()
