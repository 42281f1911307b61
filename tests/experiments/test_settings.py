"""Every field of every experiment refuses what is out of its range, before anything is run."""

import math
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import pytest

from experiments import command, registry
from experiments.__main__ import main
from experiments.ranges import (
    Choices,
    Count,
    Fraction,
    Interval,
    Level,
    OneOf,
    Positive,
    Rate,
    Some,
)
from experiments.settings import Settings, presets
from jfractal.errors import InputError

NAMES = registry.names()


def parts(hint):
    """A type, and those that it is made of."""
    yield hint
    for part in get_args(hint):
        yield from parts(part)


def leaves(config, path=()):
    """The fields of settings and of the settings in them: path, type, value."""
    for name, hint in get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if is_dataclass(value):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), hint, value


def outside(hint):
    """Values that no field of this type may have, in Python; of a range, just beyond its ends."""
    made_of = [*parts(hint)]
    is_many = any(get_origin(part) is tuple for part in made_of)
    wrong = [object(), "unknown", b"1", [1], math.nan, math.inf, -math.inf, 10**400, True, -(10**9)]
    if float in made_of:
        wrong.remove(-(10**9))
    for part in made_of:
        if isinstance(part, Interval):
            wrong += [math.nextafter(part.low, -math.inf), part.low - 1, part.high + 1]
            wrong += [part.low] if part.ends[0] == "(" else []
            wrong += [part.high] if part.ends[1] == ")" else []
        if hint is bool or part is Path:
            wrong = [1, "yes", math.nan, Path(""), "", -1]
        if part is str or get_origin(part) is Literal:
            wrong = ["unknown", "", 1, math.nan]
    wrapped = [(value,) for value in wrong] if is_many else []
    return [*wrong, *wrapped]


def changed(config, path, value):
    """The settings with one field changed."""
    first, *rest = path
    return config.but(**{first: {rest[0]: value}}) if rest else config.but(**{first: value})


@pytest.mark.parametrize("name", NAMES)
def test_no_field_takes_what_is_out_of_its_range(name):
    config, accepted, count = registry.load(name).PRESETS["laptop"], [], 0
    for path, hint, before in leaves(config):
        for value in outside(hint):
            count += 1
            try:
                changed(config, path, value)
            except InputError as error:
                message = str(error)
                assert message.startswith(f"`{path[-1]}` must be ") and "\n" not in message
            else:
                accepted.append((".".join(path), value, before))
    assert accepted == []
    assert count > 100


def spoilt(hint):
    """A value on the command line that no field of this type may have."""
    made_of = [*parts(hint)]
    if any(isinstance(part, Interval) for part in made_of):
        interval = next(part for part in made_of if isinstance(part, Interval))
        return str(interval.low - 1)
    return "" if Path in made_of else "nan" if float in made_of else "unknown"


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_says_in_one_sentence_what_it_takes(name, capsys, monkeypatch):
    monkeypatch.setattr(command, "_conduct", lambda *_: pytest.fail("it ran"))
    for path, hint, _ in leaves(registry.load(name).PRESETS["quick"]):
        flag = "--" + ".".join(path).replace("_", "-")
        assert code([name, "--quick", f"{flag}={spoilt(hint)}"]) == 2, flag
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: "), line
        assert hint is bool or path[-1] in line.replace("-", "_"), line
    assert not Path("runs").exists()


def code(argv):
    """The exit code."""
    try:
        return main(argv)
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("sbc --seed -1", "`seed` must be in [0, 4294967296), got -1"),
        ("sbc --linear.hidden -1", "`hidden` must be at least 1, got -1"),
        ("sbc --methods HMC", "`methods` must be one of 'MAP', "),
        ("sbc --methods MAP MAP", "`methods` must be one or more values, no two alike, got "),
        ("sbc --methods", "`methods` must be one or more values, no two alike, got ()"),
        ("regression_hmc --num-data -1", "`num_data` must be at least 1, got -1"),
        ("digits_fractal --posterior.prior-scale -1", "`prior_scale` must be above 0, got -1.0"),
        ("digits_fractal --out=", "`out` must be the name of a directory"),
        ("digits_fractal --train.momentum 1", "`momentum` must be in [0, 1), got 1.0"),
        ("digits_fractal --train.num-devices 99", "`num_devices` must be between 1 and 2"),
        ("digits_fractal --model.dropout 0", "`dropout` must be one rate for each of 3 blocks"),
        ("cifar_fractal --quick --train.batch-size 202", "`batch_size` must be at most 200"),
        ("cifar_fractal --train.batch-size 100", "`batch_size` must be a multiple of the 3"),
        ("cifar_fractal --train.routes sampled", "`distillation` must be 0 where `routes` are"),
        ("column_gap --train.batch-size 50", "`batch_size` must be a multiple of the 3 columns"),
        ("column_gap --model.norm frn", "`norm` must be 'batch' here, got 'frn'"),
        ("anytime_uncertainty --risk 1", "`risk` must be in (0, 1), got 1"),
        ("anytime_uncertainty --threshold -0.1", "`threshold` must be in (0, 1), got -0.1"),
        ("anytime_uncertainty --quick --model.columns 1", "`columns` must be at least 2"),
        ("active_learning --data.num-pool 50", "`num_pool` must be at least 120"),
        ("bandit_mushroom --num-turns 150", "`num_turns` must be a multiple of `turns_per_row`"),
        ("ood --problems digit", "`problems` must be one of 'fashion_mnist', 'cifar10', 'digits'"),
        ("ood --data.noises nan", "`noises` must be a finite number of 32 bits"),
    ],
)
def test_sentences(flags, said, capsys):
    assert main(flags.split()) == 2
    assert said in capsys.readouterr().err
    assert not Path("runs").exists()


@dataclass(frozen=True)
class Inner(Settings):
    rate: Rate = 0.5
    level: Level = 0.5
    share: Fraction = 1.0
    kind: Annotated[str, OneOf(["a", "b"])] = "a"


@dataclass(frozen=True)
class Outer(Settings):
    preset: str = "laptop"
    quick: bool = False
    sizes: Some[Count] = (1, 1)
    names: Choices[str] = ("x",)
    scale: Positive | None = None
    inner: Inner = Inner()


def test_changes_reach_the_settings_within():
    both = presets(Outer(), paper={"inner": {"rate": 0.0}}, quick={"sizes": (3,)})
    assert both["laptop"] == Outer()
    assert both["paper"] == Outer(preset="paper", inner=Inner(rate=0.0))
    assert both["quick"] == Outer(quick=True, sizes=(3,))


def test_changes_are_checked():
    with pytest.raises(InputError, match=r"`rate` must be in \[0, 1\), got 1"):
        presets(Outer(), paper={}, quick={"inner": {"rate": 1}})
    with pytest.raises(TypeError, match="speed"):
        Outer().but(inner={"speed": 1})


@pytest.mark.parametrize(
    "settings",
    [
        {"sizes": ()},
        {"sizes": (1, 0)},
        {"sizes": [1]},
        {"names": ("x", "x")},
        {"scale": 0},
        {"inner": 3},
        {"inner": {"level": 1.0}},
        {"inner": {"share": 1.1}},
        {"inner": {"kind": "c"}},
    ],
)
def test_what_is_refused(settings):
    with pytest.raises(InputError, match="must be"):
        Outer().but(**settings)


def test_what_is_not():
    Outer().but(sizes=(1, 1), scale=1, inner={"rate": 0, "share": 1, "kind": "b"})
