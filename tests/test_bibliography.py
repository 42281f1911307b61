"""`jf.citation`: what a run used, each paper once, and every entry whole and used."""

import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jfractal as jf

ROOT = Path(__file__).parent.parent
BIB = (ROOT / "jfractal" / "bibliography.bib").read_text(encoding="utf-8")
KEYS = re.findall(r"^@\w+\{(\w+),$", BIB, flags=re.MULTILINE)
BELIEFS = {"prior": jf.priors.Gaussian(1.0), "likelihood": jf.likelihoods.Categorical()}
DENSE = jf.Model(nn.Dense(2).apply, **BELIEFS)
NET = jf.FractalNet(2, columns=2, widths=(4,))
FRACTAL = jf.fractal_model(NET, **BELIEFS)
SGD = optax.sgd(0.1)
RESNET = jf.ResNet(2, depth=2, widths=(4,))


def cited(*used):
    """The keys of the entries, without jfractal's own."""
    first, *others = re.findall(r"^@\w+\{(\w+),$", jf.citation(*used), flags=re.MULTILINE)
    assert first == "jfractal"
    return others


@pytest.mark.parametrize(
    ("used", "keys"),
    [
        (jf.maximum_a_posteriori(DENSE, SGD), []),
        (jf.variational(DENSE, SGD), ["blundell2015"]),
        (jf.ivon(DENSE, learning_rate=0.1), ["shen2024"]),
        (jf.swag(DENSE, SGD, num_warmup=1), ["maddox2019"]),
        (jf.sgld(DENSE, learning_rate=0.1), ["welling2011"]),
        (jf.sghmc(DENSE, learning_rate=0.1), ["chen2014"]),
        (jf.sghmc(DENSE, num_warmup=1), ["chen2014", "ahn2012", "li2016"]),
        (jf.sgld(DENSE, num_warmup=1), ["welling2011", "ahn2012", "li2016"]),
        (jf.smile(DENSE), ["sommer2026", "robnik2024"]),
        (jf.mc_dropout(DENSE, SGD), ["gal2016"]),
        (jf.mc_drop_path(FRACTAL, SGD), ["gal2016", "larsson2017"]),
        (jf.maximum_a_posteriori(FRACTAL, SGD), ["larsson2017"]),
        (jf.ensemble(jf.variational(DENSE, SGD), 2), ["lakshminarayanan2017", "blundell2015"]),
        (jf.fractal_model(NET, routes="learned", **BELIEFS), ["larsson2017", "antoran2020"]),
        (jf.Model(NET.apply, **BELIEFS), ["larsson2017"]),
        (NET, ["larsson2017"]),
        (jf.TextNet(NET, vocabulary_size=9), ["larsson2017"]),
        (jf.nn.LearnedNoise(NET), ["larsson2017"]),
        (RESNET, ["he2016"]),
        (jf.DenseNet(2, depth=2, widths=(4,)), ["huang2017"]),
        (jf.PlainNet(2, depth=2, widths=(4,)), []),
        (nn.Dense(2), []),
        (jf.Point({"params": jnp.ones(2)}), []),
        (jf.MeanField({"w": jf.Gaussian(jnp.ones(2), jnp.ones(2))}), ["hinton1993"]),
        (jf.dropout({"w": jnp.ones((2, 2))}), ["gal2016"]),
        (
            jf.sub_networks(NET, jf.Point({"params": {"w": jnp.ones(2)}})),
            ["larsson2017", "gal2016"],
        ),
    ],
    ids=lambda x: getattr(x, "name", type(x).__name__),
)
def test_what_a_run_used(used, keys):
    assert cited(used) == keys


def test_a_fit_stands_for_its_method():
    start = lambda key: nn.Dense(2).init(key, jnp.ones((1, 3)))["params"]
    data = np.ones((8, 3), np.float32), np.zeros(8, int)
    method = jf.ensemble(jf.swag(DENSE, SGD, num_warmup=1), 2)
    fit = jf.fit(method, start, data, jax.random.key(0), num_steps=2, batch_size=4)
    assert cited(fit) == cited(fit.posterior) == ["lakshminarayanan2017", "maddox2019"]
    q = jf.laplace(DENSE, fit.posterior.mean(), data)
    assert cited(q) == ["mackay1992", "daxberger2021", "immer2021"]


@pytest.mark.parametrize(
    ("statistics", "keys"),
    [
        (("energy", "accept_prob"), ["neal2011", "hoffman2014", "phan2019"]),
        (("accept_prob",), ["robnik2025"]),
        (("energy_error",), ["robnik2024", "sommer2025"]),
    ],
)
def test_chains_say_what_drew_them(statistics, keys):
    known = {name: np.ones((1, 4)) for name in ("log_joint", *statistics)}
    assert cited(jf.Chains({"params": np.ones((1, 4, 2))}, known, np.ones(1))) == keys


def test_each_paper_comes_once_and_jfractal_first():
    both = jf.citation(jf.variational(DENSE, SGD), jf.variational(FRACTAL, SGD), NET)
    assert both.count("@") == 3 and both.count("\n\n") == 2
    assert both.startswith("@software{jfractal,") and f"{{{jf.__version__}}}" in both
    assert jf.citation().count("@") == 1


def test_a_method_of_ones_own_brings_its_entry():
    entry = "@misc{me,\n  title = {Mine}\n}"
    method = jf.variational(DENSE, SGD)._replace(references=(entry, "gal2016"))
    assert cited(method) == ["me", "gal2016"]
    with pytest.raises(jf.InputError, match=r"`used` has the reference 'gal2061'"):
        jf.citation(method._replace(references=("gal2061",)))


@pytest.mark.parametrize("wrong", [jf.nuts, None, "swag", {"w": np.ones(2)}])
def test_what_names_no_papers_is_refused(wrong):
    with pytest.raises(jf.InputError, match="`used` must be fits, methods, models"):
        jf.citation(wrong)


@pytest.mark.parametrize("key", KEYS)
def test_an_entry_is_whole_and_used(key):
    entry = re.search(rf"^@\w+\{{{key},\n(.*?)^\}}$", BIB, flags=re.MULTILINE | re.DOTALL)
    assert entry is not None
    fields = re.findall(r"^  (\w+) = \{(.+)\},?$", entry[1], flags=re.MULTILINE)
    assert {"title", "author", "year"} <= dict(fields).keys()
    assert all(text.count("{") == text.count("}") for _, text in fields)
    assert dict(fields)["year"] in key or key == "jfractal"
    sources = (ROOT / "jfractal").rglob("*.py")
    assert any(f'"{key}"' in path.read_text("utf-8") for path in sources)


def test_keys_differ_and_stand_in_order():
    assert sorted(set(KEYS[1:])) == KEYS[1:]
