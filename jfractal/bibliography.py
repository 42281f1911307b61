"""What to cite: the papers behind the parts of a run, as BibTeX."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources

from flax import linen as nn

from jfractal.arguments import as_strings, described
from jfractal.errors import InputError
from jfractal.inference.method import Method
from jfractal.inference.model import Model
from jfractal.posterior.posterior import Posterior
from jfractal.training.fit import Fit

__all__ = ["citation"]

SOFTWARE = "jfractal"


def citation(*used: Fit | Method | Model | Posterior | nn.Module) -> str:
    """BibTeX entries for a run: jfractal itself, and the papers behind methods, posteriors, nets.

    Each of these names its papers in ``references``: keys of ``jfractal/bibliography.bib`` or, for
    your own method or net, whole entries, ``"@article{...}"``.

    Args:
        *used: Fits, methods, models, posteriors and nets. A fit includes its method, a method its
            model, and a model its net. A posterior does not know how it was found, so it names only
            the papers on its form.

    Returns:
        The entries, each once, separated by blank lines.

    Raises:
        InputError: If an argument has another type, or names an entry that does not exist.

    Example:
        ::

            fit = jf.fit(jf.variational(model, optax.adam(1e-3)), params, (x, y), key, num_steps=9)
            print(jf.citation(fit))
    """
    names = dict.fromkeys([SOFTWARE, *(name for part in used for name in _references(part))])
    return "\n\n".join(_entry(name) for name in names) + "\n"


def _references(used: object) -> Iterator[str]:
    match used:
        case Fit():
            yield from _references(used.method)
        case Method():
            yield from as_strings("references", used.references)
            yield from _references(used.model)
        case Model():
            yield from getattr(used, "references", ())
            if isinstance(net := getattr(used.apply, "__self__", None), nn.Module):
                yield from _references(net)
        case Posterior():
            yield from used.references
        case nn.Module():
            yield from getattr(used, "references", ())
            for part in vars(used).values():
                yield from _references(part) if isinstance(part, nn.Module) else ()
        case _:
            raise InputError(
                f"`used` must be fits, methods, models, posteriors or nets, got {described(used)}"
            )


def _entry(name: str) -> str:
    if name.startswith("@"):
        return name.strip()
    if name not in _entries():
        raise InputError(
            f"`used` has the reference {name!r}, which is no key of jfractal/bibliography.bib and "
            "no entry that begins with '@'"
        )
    return _entries()[name]


@cache
def _entries() -> dict[str, str]:
    """The entries of the file by their keys."""
    text = resources.files("jfractal").joinpath("bibliography.bib").read_text(encoding="utf-8")
    found = re.finditer(r"^@\w+\{(\w+),\n.*?^\}$", text, flags=re.MULTILINE | re.DOTALL)
    return {entry[1]: entry[0] for entry in found}
