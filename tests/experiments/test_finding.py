"""The sentence at the top of a report says what the rows say."""

import pytest

from experiments import registry
from experiments.report import highest, lowest, sentence
from experiments.rows import Rows


def rows(**accuracies):
    made = Rows()
    for method, values in accuracies.items():
        for seed, value in enumerate(values):
            made.add({"accuracy": value, "nll": 2 - value}, method=method, seed=seed)
    return made


def test_the_best_is_followed_by_the_others():
    found = rows(MAP=[0.8], IVON=[0.91], SGLD=[0.85])
    assert sentence(highest("accuracy", "method"), "digits (enlarged)", found) == (
        "On digits (enlarged), the highest accuracy is 91.0 % (IVON), ahead of 85.0 % (SGLD) "
        "and 80.0 % (MAP)."
    )
    assert lowest("nll", "method", of="test NLL")(found).startswith(
        "the lowest test NLL is 1.090 nats (IVON), ahead of 1.150 nats (SGLD)"
    )


def test_figures_that_round_to_nothing_are_written_as_powers():
    found = Rows()
    found.add({"p_value": 3.2e-10}, method="mean field")
    assert lowest("p_value", "method")(found) == ("the lowest p-value is 3.2e−10 (mean field)")


def test_of_many_only_the_ends_are_named():
    found = rows(A=[0.1], B=[0.2], C=[0.3], D=[0.4], E=[0.5], F=[0.6])
    assert highest("accuracy", "method")(found) == (
        "the highest accuracy is 60.0 % (F), ahead of 50.0 % (E) and 3 more, "
        "the last being 10.0 % (A)"
    )


def test_repetitions_are_averaged_and_equals_share_a_place():
    found = rows(MAP=[0.8, 0.9], IVON=[0.85, 0.85])
    assert highest("accuracy", "method")(found) == (
        "the highest accuracy is 85.0 ± 5.0 % (MAP), ahead of 85.0 % (IVON)"
    )
    equal = rows(MAP=[0.8], IVON=[0.8], SGLD=[0.7])
    assert "80.0 % (MAP and IVON), ahead of 70.0 % (SGLD)" in highest("accuracy", "method")(equal)


def test_each_level_has_a_winner_of_its_own():
    found = Rows()
    for size, a, b in ((10, 1.0, 2.0), (20, 3.0, -0.5)):
        found.add({"nll": a}, method="A", size=size)
        found.add({"nll": b}, method="B", size=size)
        found.add({"nll": -9.0}, method="NUTS", size=size)
    finding = lowest("nll", "method", per="size", without=("NUTS",))
    assert finding(found) == (
        "the lowest NLL is 1.000 nats (A) for size 10 and −0.500 nats (B) for size 20"
    )


def test_rows_of_something_else_do_not_compete():
    found = rows(MAP=[0.8])
    found.add({"accuracy": 1.0}, removed="50%")
    found.add({"accuracy": 0.9}, method="MAP", route="column 1")
    assert highest("accuracy", "method", where={"route": None})(found).endswith("80.0 % (MAP)")
    assert highest("accuracy", "method")(found).endswith("90.0 % (MAP)")  # the best at a level
    assert highest("ece", "method")(found) == "no ECE was measured"


def test_a_reference_that_has_not_converged_is_said_to_be_none():
    found = rows(MAP=[0.8])
    found.add({"converged": True}, problem="a")
    assert "NUTS" not in sentence(highest("accuracy", "method"), "digits", found)
    found.add({"converged": False}, problem="b")
    assert sentence(highest("accuracy", "method"), "digits", found).endswith(
        "; NUTS has NOT converged, so it is no reference."
    )


@pytest.mark.parametrize("name", registry.names())
def test_every_experiment_declares_its_finding(name):
    assert callable(registry.load(name).FINDING)
