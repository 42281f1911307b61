"""Trees of arrays in a file: written atomically, checked when read, and without pickle."""

import contextlib
import errno
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from jfractal.arguments import as_path, check_type, described
from jfractal.errors import InputError
from jfractal.interrupts import Interrupts

__all__ = ["discard_parts", "load", "read", "read_about", "save", "storable", "write"]

Class = TypeVar("Class", bound=type)

_STORABLE: dict[str, type] = {}
_ABOUT = "about.json"


def storable(cls: Class) -> Class:
    """Registers a frozen dataclass with `save`, `load` and `flax.serialization`, by its name."""
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise InputError(f"`cls` must be a dataclass, got {described(cls)}")
    names = [f.name for f in fields(cast(Any, cls))]
    serialization.register_serialization_state(
        cls,
        lambda x: {n: serialization.to_state_dict(getattr(x, n)) for n in names},
        lambda x, s: cls(
            **{n: serialization.from_state_dict(getattr(x, n), s[n], name=n) for n in names}
        ),
    )
    _STORABLE[cls.__name__] = cls
    return cast(Class, cls)


def save(path: str | Path, tree: Any) -> None:
    """Writes a tree so that `load` returns it, bit for bit, in any process with jfractal.

    Args:
        path: The file. If it exists, it is replaced atomically.
        tree: Dictionaries, lists, tuples and posteriors of arrays, numbers and strings.

    Raises:
        InputError: If the tree holds anything else, or the file cannot be written.
    """
    path = as_path("path", path)
    arrays: dict[str, np.ndarray] = {}
    write(path, arrays, {"tree": _encode(tree, arrays)})


def load(path: str | Path) -> Any:
    """The tree that `save` wrote: any posterior of jfractal, or a tree of arrays.

    Args:
        path: The file.

    Returns:
        The tree, with JAX arrays.

    Raises:
        InputError: If there is no such file, it is damaged, or it holds something else.

    Example:
        ::

            q = jf.laplace(model, params, (x, y))
            q.save("posterior.npz")
            q = jf.load("posterior.npz")  # in another process
    """
    arrays, about = read(as_path("path", path))
    if "tree" not in about:
        raise InputError(f"`path`: {path} holds neither a posterior nor a tree of `jf.save`")
    try:
        return _decode(about["tree"], arrays)
    except InputError:
        raise
    except Exception as error:  # a forged description leads anywhere
        raise _unreadable(Path(path), error) from error


def write(path: str | Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Writes arrays by name, a description of them as JSON, and a checksum of both.

    Raises:
        InputError: If the file cannot be written.
    """
    path = as_path("path", path)
    for name, value in (("arrays", arrays), ("about", about)):
        check_type(name, value, Mapping, "a dictionary by name")
    if not all(isinstance(name, str) for name in arrays):
        raise InputError(f"`arrays` must have names that are strings, got {described(arrays)}")
    try:
        json.dumps(dict(about))
    except (TypeError, ValueError) as error:
        raise InputError(f"`about` must be what JSON can say: {error}") from error
    arrays = {name: np.asarray(x) for name, x in arrays.items()}
    plain = {name: _plain(x) for name, x in arrays.items()}
    dtypes = {name: x.dtype.name for name, x in arrays.items()}
    content: dict[str, Any] = {"about": dict(about), "dtypes": dtypes}
    content["sha256"] = _checksum(plain, content)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with Interrupts():  # within a member, an archive cannot even be closed
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                with zipfile.ZipFile(file, "w") as archive:
                    archive.writestr(_ABOUT, json.dumps(content))
                    for name, x in plain.items():
                        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                            np.lib.format.write_array(member, x, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise InputError(f"`path`: cannot write {path}: {_reason(error, plain)}") from error


def discard_parts(directory: Path) -> None:
    """Removes partial files of `write` after its process was killed; call it while none writes."""
    for path in as_path("directory", directory).glob(".*.npz.*.part"):
        with contextlib.suppress(OSError):
            path.unlink()


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads what `write` wrote: the arrays by name, and their description.

    Raises:
        InputError: If there is no such file, it is damaged, or it was not written by `write`.
    """
    path = as_path("path", path)
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read(_ABOUT))
            plain = {}
            for name in content["dtypes"]:
                with archive.open(f"{name}.npy") as member:
                    plain[name] = np.lib.format.read_array(member, allow_pickle=False)
        checksum = content.pop("sha256")
        if checksum != _checksum(plain, content):
            raise ValueError("its checksum is wrong")
        arrays = {name: _typed(x, content["dtypes"][name]) for name, x in plain.items()}
        return arrays, content["about"]
    except Exception as error:
        raise _unreadable(path, error) from error


def read_about(path: str | Path) -> dict[str, Any]:
    """Reads only the description of the arrays, without checking the checksum.

    Raises:
        InputError: If there is no such file, it is damaged, or it was not written by `write`.
    """
    path = as_path("path", path)
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(json.loads(archive.read(_ABOUT))["about"])
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    """The error for a file that cannot be read; a damaged archive may raise anything."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"`path`: there is no file {path}")
    reason = str(error).partition("\n")[0]
    return InputError(f"`path`: {path} is damaged or not a file of jfractal ({reason})")


def _reason(error: OSError, arrays: Mapping[str, np.ndarray]) -> str:
    """The reason why a file cannot be written and, on a full disk, the space that it needs."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return str(error.strerror)
    size = sum(x.nbytes for x in arrays.values()) / 1e6
    return f"{error.strerror}; free {size:,.1f} MB there, and call again: what was written stays"


def _checksum(plain: Mapping[str, np.ndarray], content: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name, x in sorted(plain.items()):
        digest.update(f"{name} {x.dtype.str} {x.shape}".encode())
        digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()


def _plain(x: np.ndarray) -> np.ndarray:
    """An array of a native NumPy dtype, with bfloat16 and the like as unsigned integers."""
    x = np.asarray(x)
    if not _is_numeric(x):
        raise InputError(f"`arrays` must be of numbers, got {described(x)}")
    x = x.astype(x.dtype.newbyteorder("="), copy=False)
    return x if x.dtype.isbuiltin == 1 else x.view(f"u{x.dtype.itemsize}")


def _typed(x: np.ndarray, dtype: str) -> np.ndarray:
    return x.view(jnp.dtype(dtype))


def _encode(x: Any, arrays: dict[str, np.ndarray]) -> Any:
    """`x` as JSON, in which names replace its arrays; the arrays are added to `arrays`."""
    match x:
        case None | bool() | int() | float() | str():
            return x
        case jax.Array() if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            impl = str(jax.random.key_impl(x))
            return {"key": _encode(jax.random.key_data(x), arrays), "impl": impl}
        case jax.Array() | np.ndarray() | np.generic() if _is_numeric(x):
            name = f"array_{len(arrays)}"
            arrays[name] = np.asarray(x)
            return {"array": name}
        case Mapping():
            items = [[_encode(k, arrays), _encode(v, arrays)] for k, v in x.items()]
            return {"dict": items}
        case list():
            return {"list": [_encode(v, arrays) for v in x]}
        case tuple() if type(x) is tuple:
            return {"tuple": [_encode(v, arrays) for v in x]}
        case _ if type(x).__name__ in _STORABLE and type(x) is _STORABLE[type(x).__name__]:
            held = {f.name: _encode(getattr(x, f.name), arrays) for f in fields(x)}
            return {"class": type(x).__name__, "fields": held}
    raise InputError(
        "`tree` must hold dictionaries, lists, tuples and posteriors of arrays, numbers and "
        f"strings to be saved, got {described(x)}"
    )


def _is_numeric(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, np.number) or x.dtype == bool


def _decode(x: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    decode = lambda value: _decode(value, arrays)
    match x:
        case {"key": data, "impl": impl}:
            return jax.random.wrap_key_data(decode(data), impl=impl)
        case {"array": name}:
            return jnp.asarray(arrays[name])
        case {"dict": items}:
            return {decode(k): decode(v) for k, v in items}
        case {"list": items}:
            return [decode(v) for v in items]
        case {"tuple": items}:
            return tuple(decode(v) for v in items)
        case {"class": name, "fields": held}:
            if name not in _STORABLE:
                raise InputError(f"this version of jfractal has no {name}")
            return _STORABLE[name](**{k: decode(v) for k, v in held.items()})
        case _:
            return x
