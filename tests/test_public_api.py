"""The public names and their signatures are those that were reviewed, in ``tests/public_api.txt``.

After a change on purpose: ``python -m tests.test_public_api`` writes the file anew, and the diff is
part of the review.
"""

import difflib
import inspect
from pathlib import Path

from tests.test_api_pages import NAMES, resolved

REVIEWED = Path(__file__).parent / "public_api.txt"
PLAIN = bool | int | float | str | bytes | None
NEW, GONE = "+ ", "- "


def written(default):
    """A default that reads the same in every version; of what does not, that there is one."""
    if isinstance(default, tuple | list) and all(isinstance(part, PLAIN) for part in default):
        return repr(default)
    return repr(default) if isinstance(default, PLAIN) else getattr(default, "__name__", "...")


def signature(function):
    """Names, kinds and defaults of arguments; annotations are for the type checker."""
    bare = []
    for parameter in inspect.signature(function).parameters.values():
        default = parameter.default
        has_default = default is not inspect.Parameter.empty
        bare.append(parameter.replace(annotation=inspect.Parameter.empty))
        if has_default:
            bare[-1] = bare[-1].replace(default=Written(written(default)))
    return str(inspect.Signature(bare))


class Written:
    """What stands for a default in a signature."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text


def members(cls):
    """Methods and properties, also inherited ones, as far as jfractal wrote them."""
    for name in sorted(dir(cls)):
        owner = next(base for base in cls.__mro__ if name in vars(base))
        is_field = name in getattr(cls, "__dataclass_fields__", {})  # in the signature already
        if name.startswith("_") or is_field or not owner.__module__.startswith("jfractal"):
            continue
        value = vars(owner)[name]
        if isinstance(value, property):
            yield f"    .{name}"
        elif callable(plain := getattr(value, "__func__", value)) and not inspect.isclass(plain):
            yield f"    .{name}{signature(plain)}"


def entry(path, value):
    """The lines on one public name."""
    if inspect.isclass(value):
        try:
            made = signature(value)
        except ValueError:  # of a class that C wrote
            made = ""
        return [f"{path}{made}", *members(value)]
    if inspect.isfunction(value):
        return [f"{path}{signature(value)}"]
    return [f"{path}: {type(value).__name__}"]


def public():
    """The file, line by line: each thing under its first name, other names behind it."""
    first = {}
    lines = []
    for module, name in sorted(NAMES):
        path = f"{module}.{name}"
        value = resolved(path)
        has_name = inspect.isclass(value) or inspect.isfunction(value)
        if has_name and id(value) in first:
            lines.append(f"{path} = {first[id(value)]}")
            continue
        first[id(value)] = path
        lines += entry(path, value)
    return lines


def test_the_public_names_are_the_reviewed_ones():
    reviewed = REVIEWED.read_text(encoding="utf-8").splitlines()
    changes = [x for x in difflib.ndiff(reviewed, public()) if x.startswith((NEW, GONE))]
    assert not changes, "\n".join(
        ["if this is on purpose: python -m tests.test_public_api", *changes]
    )


def test_a_lost_argument_is_noticed():
    def before(x, *, scale=1.0): ...
    def after(x, *, scales=1.0): ...

    assert signature(before) == "(x, *, scale=1.0)" != signature(after)


if __name__ == "__main__":
    REVIEWED.write_text("\n".join(public()) + "\n", encoding="utf-8")
