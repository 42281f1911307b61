"""What columns and architectures are compared with: nets of the same shape, size or cost."""

import jax
import numpy as np
import pytest

import jfractal as jf
from experiments import _nets as nets
from experiments import architectures, column_gap
from experiments._images import Split
from experiments.rows import Rows


def test_a_twin_has_the_shape_of_its_column():
    config = column_gap.PRESETS["laptop"]
    shape = (16, 16, 32)
    fractal = nets.fractal_net(config, 10)
    x = jax.ShapeDtypeStruct((1, *shape), np.float32)
    for column in fractal.columns:
        twin = jf.PlainNet(10, depth=2 ** (column - 1), **nets.options(config))
        assert twin.num_flops(shape) == fractal.num_flops(shape, column=column)
        of = fractal.column(column)
        shapes = (jax.eval_shape(net.init, jax.random.key(0), x)["params"] for net in (of, twin))
        own, alone = (sorted(leaf.shape for leaf in jax.tree.leaves(tree)) for tree in shapes)
        assert own == alone


def test_leads_are_points_over_the_twins_of_the_same_seed():
    found = Rows()
    for seed, (first, second) in enumerate([(0.5, 0.7), (0.6, 0.4)]):
        for route, value in {"column 1": first, "column 2": second}.items():
            found.add({"accuracy": value}, training=column_gap.TWIN, route=route, seed=seed)
    accuracy = {"whole net": 0.65, "column 1": 0.55, "column 2": 0.62}
    of = {"training": "drop-path", "statistics": "shared"}
    rows = column_gap.figures(accuracy, found, seed=1, **of)
    lead = {row["route"]: row["value"] for row in rows.where(metric="lead")}
    assert lead == pytest.approx({"whole net": 5.0, "column 1": -5.0, "column 2": 22.0})
    assert rows.values("gap") == pytest.approx([3.0])


def test_the_finding_names_the_training_whose_weakest_column_does_best():
    rows = Rows()
    for training in column_gap.TRAININGS:
        better = training == "distillation"
        for seed, noise in enumerate((-0.5, 0.5)):
            of = {"training": training, "seed": seed, "statistics": column_gap.SHOWN}
            rows.add({"lead": 5.0 * (not better) + noise}, route="column 1", **of)
            rows.add({"lead": better - 2.0 + noise}, route="column 2", **of)
    said = column_gap.FINDING(rows)
    assert "trained by distillation" in said
    assert said.endswith("by 0.0 ± 0.5 points (column 1) and −1.0 ± 0.5 points (column 2)")


def test_architectures_keep_to_their_budgets():
    config = architectures.PRESETS["quick"].but(data={"name": "digits"}, model={"widths": (8,)})
    split = Split.load(config.data, 0)
    each = architectures.architectures(config, split)
    fractal = each[architectures.FRACTAL]
    for budget, size in architectures.BUDGETS.items():
        of = lambda net, size=size: getattr(net, size)(split.shape)
        for name in architectures.OTHERS:
            ratio = of(each[f"{name}, {budget}"]) / of(fractal)
            assert 0.7 < ratio <= 1
