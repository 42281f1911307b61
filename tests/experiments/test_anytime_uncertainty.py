"""Ways to ask a fractal net, and what their answers are worth."""

import numpy as np
import pytest

import jfractal as jf
from experiments import _answers as answers
from experiments import _strangers
from experiments import anytime_uncertainty as experiment
from experiments._answers import Answer, Questions
from experiments._images import Split
from experiments.rows import Rows

PARTS = {"choice": 20, "calibration": 200, "test": 300, "near": 30, "far": 30}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def answer_of(rng, labels, strength, mflops=1.0):
    """Logits of unit noise, and what the label adds to them; strangers have no label."""
    said = {}
    for of, number in PARTS.items():
        logits = rng.normal(0, 1, (number, 4))
        if of in labels:
            logits[np.arange(number), labels[of]] += strength
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        said[of] = jf.Prediction.single(log_probs.astype(np.float32))
    return Answer(said, mflops, 10 * mflops)


def questions_of(rng):
    labels = {of: rng.integers(0, 4, n) for of, n in PARTS.items() if of not in ("near", "far")}
    return Questions({}, labels)


def test_a_mixture_is_the_mean_of_probabilities_and_costs_the_sum(rng):
    labels = questions_of(rng).labels
    one, two = (answer_of(rng, labels, 1.0, price) for price in (1.0, 3.0))
    both = answers.together([one, two])
    expected = (one.said["test"].probs + two.said["test"].probs) / 2
    np.testing.assert_allclose(both.said["test"].probs, expected, rtol=1e-5)
    assert (both.mflops, both.milliseconds) == (4.0, 40.0)


def test_a_window_cascade_asks_twice_where_it_matters(rng):
    labels = questions_of(rng).labels
    one, two = (answer_of(rng, labels, 1.0, price) for price in (1.0, 3.0))
    cascade = answers.window(one, two, (0.5, 0.9))
    low, high = np.quantile(one.said["choice"].entropy, (0.5, 0.9))
    both = answers.together([one, two]).said["test"].probs
    entropy = np.asarray(one.said["test"].entropy)
    asked = (entropy >= low) & (entropy <= high)
    assert 0.1 < asked.mean() < 0.9
    got = np.asarray(cascade.said["test"].probs)
    np.testing.assert_allclose(got[asked], both[asked], rtol=1e-5)
    np.testing.assert_allclose(got[~asked], one.said["test"].probs[~asked], rtol=1e-5)
    assert cascade.mflops == pytest.approx(1 + 3 * asked.mean())
    always, never = (answers.window(one, two, w) for w in ((0.0, 1.0), (1.0, 1.0)))
    assert always.mflops > cascade.mflops > never.mflops


def test_sets_are_nested_where_no_class_comes_back():
    before = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]], bool)
    after = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]], bool)
    assert answers.nestedness(after, before) == 0.75
    assert answers.nestedness(before, before) == 1.0


def test_figures_are_those_of_the_metrics(rng):
    questions = questions_of(rng)
    names = ["column 1", "column 2", "whole net", "plain net 1", "plain net 2"]
    found = {
        name: answer_of(rng, questions.labels, strength, price)
        for name, strength, price in zip(names, (1, 2, 3, 1, 2), (1.0, 2.0, 4.0, 1.0, 2.0))
    }
    rows = answers.figures(found, questions, 0.1, seed=0)
    of = lambda metric, method: rows.values(metric, method=method).tolist()
    wrong = found["column 2"].said["test"].probs.argmax(-1) != questions.labels["test"]
    assert of("error", "column 2") == pytest.approx([float(wrong.mean())])
    for name in names:
        (covered,) = of("coverage", name)
        assert 0.83 < covered < 0.97  # 0.9 ± 3 standard errors of 200 and 300 draws
    assert of("error", "whole net") < of("error", "column 2") < of("error", "column 1")
    assert of("aurc", "whole net") < of("aurc", "column 2") < of("aurc", "column 1")
    nested = [row["method"] for row in rows.where(metric="nested")]
    assert nested == ["column 2", "whole net", "plain net 2"]
    by_design = [row["method"] for row in rows.where(metric="coverage_nested")]
    assert by_design == ["column 1", "column 2"]
    entropy = {of: p.entropy for of, p in found["column 1"].said.items()}
    apart = (np.asarray(entropy["near"])[:, None] > np.asarray(entropy["test"])).mean()
    assert of("auroc_near", "column 1") == pytest.approx([apart], abs=1e-6)


@pytest.mark.parametrize("shape", [(8, 8, 3), (4, 5, 1), (6, 6, 1)])
def test_strange_images_take_the_shape_of_the_own(rng, shape):
    images = rng.integers(0, 256, (3, 6, 6, 1), dtype=np.uint8)
    fitted = _strangers.fitted(images, shape)
    assert fitted.shape == (3, *shape) and fitted.dtype == np.uint8
    if shape == (8, 8, 3):
        np.testing.assert_array_equal(fitted[:, 1:-1, 1:-1, 2], images[..., 0])
        assert fitted.sum() == 3 * images.astype(int).sum()
    if shape == (4, 5, 1):
        np.testing.assert_array_equal(fitted, images[:, 1:5, :5])


def test_grey_is_the_mean_of_colours():
    colours = np.array([[[[0, 10, 200]]]], np.uint8)
    assert _strangers.fitted(colours, (1, 1, 1)).item() == 70


def test_without_another_set_strangers_are_made_of_the_own():
    config = experiment.PRESETS["quick"].but(data={"name": "digits"})
    split = Split.load(config.data, 0)
    found = _strangers.strangers(config.data, split, 20)
    np.testing.assert_array_equal(found["near"].images, split.test[0][:20, ::-1])
    assert found["far"].title == "uniform noise"
    assert found["far"].images.shape == found["near"].images.shape


def test_halves_of_the_validation_images_have_no_image_in_common():
    config = experiment.PRESETS["quick"].but(data={"name": "digits"})
    split = Split.load(config.data, 0)
    asked = Questions.of(split, _strangers.strangers(config.data, split, 20))
    halves = np.concatenate([asked.images["choice"], asked.images["calibration"]])
    np.testing.assert_array_equal(halves, split.validation[0])
    assert abs(len(asked.images["choice"]) - len(asked.images["calibration"])) <= 1


def test_a_method_is_one_point_of_the_picture_however_many_seeds():
    rows = Rows()
    for seed, mflops in enumerate((1.0, 3.0)):
        rows.add({"mflops": mflops, "error": 0.1 * mflops}, method="early exit", seed=seed)
    picture = experiment.placed(rows, "error")
    assert picture.levels("price") == [2.0]
    assert picture.values("error", series="early exits") == pytest.approx([0.1, 0.3])
