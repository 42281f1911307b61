"""A run in a process of its own, to be killed; what it imports is imported once, and forked."""

import os
import signal
import warnings
from pathlib import Path

import jax

import experiments.command  # brings all but the experiment itself
from experiments.__main__ import main

FAKE = Path(__file__).parent / "fake"
warnings.filterwarnings("ignore", ".*fork", RuntimeWarning)  # nothing has been computed yet


def run(flags, said, cache, write=0):
    """Runs an experiment, and is killed in the middle of a write of a checkpoint.

    Args:
        flags: Of the command line.
        said: The file for what it prints.
        cache: Directory of compiled programs.
        write: Which write; 0 for none.
    """
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    experiments.__path__.append(str(FAKE))
    os.fsync = _cut_at(write)
    try:
        code = main(flags)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    os._exit(code)


def _cut_at(write):
    fsync, left = os.fsync, iter(range(write - 1, -1, -1))

    def cut(file):
        if next(left, None) == 0:
            os.truncate(file, os.fstat(file).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(file)

    return cut
