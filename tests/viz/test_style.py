from jfractal import viz
from jfractal.viz.style import INK, PALETTE, colours


def test_columns_and_the_whole_net_have_colours_of_their_own():
    alone = {name: colours([name])[name] for name in ("whole net", "column 1", "column 2")}
    assert alone == {"whole net": INK, "column 1": PALETTE[0], "column 2": PALETTE[1]}
    assert colours(["column 2", "whole net", "column 1"]) == alone


def test_other_names_avoid_the_colours_of_the_columns():
    found = colours(["HMC", "column 1", "ensemble", "whole net"])
    assert list(found) == ["HMC", "column 1", "ensemble", "whole net"]
    assert len(set(found.values())) == 4


def test_more_names_than_colours_repeat():
    names = [f"column {i}" for i in range(1, 10)] + ["other"]
    assert set(colours(names).values()) == set(PALETTE)


def test_a_notebook_shows_a_figure_without_pyplot():
    figure = viz.curves({"loss": ([0, 1], [2.0, 1.0])}, xlabel="step", ylabel="nats")
    show = figure._repr_png_  # what IPython looks for
    assert show().startswith(b"\x89PNG")
