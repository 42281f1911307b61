import html.parser
import re

import pytest
from matplotlib.figure import Figure

from experiments import report
from experiments.report import Outcome, Picture, Section, Table, is_version, render, show
from experiments.report.words import aligned, duration, moment
from experiments.rows import Rows

RECORD = {
    "command": "python -m experiments counting",
    "commit": None,
    "started": "2026-01-02T03:04:05+00:00",
    "config": {"preset": "laptop", "train": {"rate": 0.1}},
    "versions": {"python": "3.11", "jfractal": None},
}
ABOUT = {
    "name": "counting",
    "preset": "laptop",
    "seed": 0,
    "device": "cpu",
    "seconds": 1.5,
    "resumed": False,
    "finding": "On digits, the highest accuracy is 98.8 % (<MAP>).",
}
ROWS = [
    {"method": method, "seed": seed, "size": size, "metric": metric, "value": value + seed}
    for method, value in (("MAP", 1.0), ("<HMC>", 3.0))
    for seed in (0, 1)
    for size in (10, 20)
    for metric, value in (("nll", value * size), ("error", value))
]


class Balance(html.parser.HTMLParser):
    """Fails on a tag that closes another than the last one opened."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(requested="digits", sections=(), **about):
    rows = Rows()
    rows.add({"accuracy": 0.98765432})
    outcome = Outcome("digits", requested, rows, sections)
    return render("Count.\n\n    make <this>", RECORD, ABOUT | about, outcome)


def words(text):
    return " ".join(re.sub(r"<style>.*</style>|<[^>]*>", "", text, flags=re.DOTALL).split())


def paragraphs(text):
    """What stands between the title and the first section."""
    text = text[text.index("</h1>") : text.index("<details")]
    return [words(part) for part in re.findall(r"<p.*?</p>", text, flags=re.DOTALL)]


def test_the_result_comes_first_and_then_what_ran_on_what():
    assert paragraphs(page()) == [
        "On digits, the highest accuracy is 98.8 % (&lt;MAP&gt;).",
        "Ran on digits, with cpu: preset laptop, seed 0, begun 2 January 2026, 03:04, 1.5 s.",
    ]


def test_other_data_and_a_quick_run_are_warned_of_below_the_result():
    html = page(requested="uoft-cs/cifar10", preset="quick")
    finding, quick, data, ran = paragraphs(html)
    assert finding.startswith("On digits") and ran.startswith("Ran on digits, with cpu")
    assert quick == "A quick run. It shows that everything runs; its figures mean nothing."
    assert data == "Ran on digits, NOT on uoft-cs/cifar10 as requested."
    assert html.count('class="warning"') == 2


def test_the_page_says_that_the_time_is_not_all():
    assert paragraphs(page(resumed=True))[-1].endswith("1.5 s since it was resumed.")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (42.4, "42 s"),
        (59.7, "1 min 0 s"),
        (756, "12 min 36 s"),
        (7530, "2 h 5 min"),
        (100_000, "1 d 3 h"),
    ],
)
def test_durations_have_two_units(seconds, written):
    assert duration(seconds) == written


def test_moments_are_written_out():
    assert moment("2026-11-26T06:48:12+01:00") == "26 November 2026, 06:48"


def test_page_has_result_settings_versions_and_note():
    html = page()
    text = words(html)
    for part in ("accuracy 0.9877", "train.rate 0.1", "python 3.11", "Commit unknown"):
        assert part in text
    assert text.endswith("Lab note Count. make &lt;this&gt;")
    assert "<p>Count.</p>" in html and "<pre>    make &lt;this&gt;</pre>" in html


def test_section_shows_paragraphs_table_and_picture():
    table = Table(
        ["method", "nll", "why"],
        [["<HMC>", "-", "short"], ["variational", 0.25, "long " * 9], ["MAP", 1.0, "short"]],
    )
    section = Section("Part", "One.\n\nTwo & three.", table, [Picture(Figure(), "What it shows")])
    text = page(sections=[section])
    assert text.count("<p>One.</p>") == text.count("<p>Two &amp; three.</p>") == 1
    for cell in (
        "<td>&lt;HMC&gt;</td>",
        '<td class="number">-</td>',
        '<td class="number">0.25</td>',
    ):
        assert cell in text
    assert '<td class="prose">long' in text and "<td>short</td>" in text
    assert '<th scope="col" class="number">nll</th>' in text
    assert "data:image/png;base64,iVBORw0KGgo" in text
    assert "<figcaption>What it shows</figcaption>" in text


def test_page_is_well_formed_and_needs_nothing_else():
    section = Section("Part", table=Table(["a"], []), pictures=[Picture(Figure(), "caption")])
    text = page(sections=[section])
    balance = Balance()
    balance.feed(text)
    assert balance.open == []
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert not re.search(r"<link|<script|src=\"(?!data:)|url\(", text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.98765432, "0.9877"),
        (1.5, "1.5"),
        (123456.7, "123,457"),
        (1000.0, "1,000"),
        (2e-7, "2e-07"),
        (33724618, "33,724,618"),
        (True, "yes"),
        ("a, b", "a, b"),
    ],
)
def test_show(value, shown):
    assert show(value) == shown


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ([0.5, 0.123, "-", 1], ["0.500", "0.123", "-", "1"]),
        ([150.25, 0.5], ["150.2", "0.5"]),
        ([2e-7, 0.5], ["2e-07", "0.5"]),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_fractions_of_a_column_have_as_many_digits(column, shown):
    assert aligned(column) == shown


# From rows


def test_table_has_a_row_for_each_label_and_averages_over_seeds():
    table = report.table(Rows(ROWS), {"nll": "NLL", "error": "error"}, by=("method", "size"))
    assert table.columns == ["method", "size", "NLL", "error"]
    assert table.rows[0] == ["MAP", 10, "10.5000 ± 0.5000", "1.5000 ± 0.5000"]
    assert [row[:2] for row in table.rows] == [
        *(["MAP", 10], ["MAP", 20], ["<HMC>", 10], ["<HMC>", 20])
    ]


def test_table_puts_levels_side_by_side():
    rows = Rows(ROWS).where(seed=0)
    rows.add({"nll": 7}, method="SGLD", size=20)
    both = report.table(rows, {"nll": "NLL", "error": "error"}, across="size")
    assert both.columns == ["method", "10, NLL", "10, error", "20, NLL", "20, error"]
    assert both.rows[0] == ["MAP", 10.0, 1.0, 20.0, 1.0]
    assert both.rows[2] == ["SGLD", "-", "-", 7, "-"]
    apart = report.table(rows, {"error": "error"}, by=("method", "network"))
    rows.add({"error": 5.0}, method="MAP", network="small")
    assert report.table(rows, {"error": "error"}, by=("method", "network")).rows == [
        *apart.rows,
        ["MAP", "small", 5.0],
    ]
    one = report.table(rows, {"nll": ""}, across="size")
    assert one.columns == ["method", "10", "20"]


def test_curves_are_means_over_seeds_of_a_metric_against_a_field_or_a_metric():
    options = {"xlabel": "size", "ylabel": "nats"}
    by_field = report.curves(Rows(ROWS), "size", "nll", **options)
    lines = {line.get_label(): line.get_xydata().tolist() for line in by_field.figure.axes[0].lines}
    assert lines == {"MAP": [[10, 10.5], [20, 20.5]], "<HMC>": [[10, 30.5], [20, 60.5]]}
    assert by_field.caption == "Nats against size."
    by_metric = report.curves(Rows(ROWS).where(method="MAP", size=10), "error", "nll", **options)
    (line,) = by_metric.figure.axes[0].lines
    assert line.get_xydata().tolist() == [[1, 10], [2, 11]]


def test_intervals_pass_by_levels_without_the_metric():
    rows = Rows(ROWS)
    rows.add({"accuracy": 1.0}, method="SGLD")
    picture = report.intervals(rows, "error", xlabel="error")
    axes = picture.figure.axes[0]
    assert {label.get_text() for label in axes.get_yticklabels()} == {"MAP", "<HMC>"}


@pytest.mark.parametrize(
    ("dataset", "requested", "expected"),
    [
        ("CIFAR-10 (JPEG copy), subset of 100 + 100 images", "cifar10", True),
        ("Fashion-MNIST", "fashion_mnist", True),
        ("digits (enlarged to 32x32x3)", "cifar10", False),
        ("digits", "uoft-cs/cifar10", False),
    ],
)
def test_a_copy_with_departures_is_still_what_was_requested(dataset, requested, expected):
    assert is_version(dataset, requested) == expected


def test_measured_cells_are_numbers():
    cells = [[0.5], ["-"], ["0.850 ± 0.003"], ["−1.20 (−1.30–−1.10)"], ["0.85 (0.80–0.90)"]]
    assert Table(["accuracy"], cells).holds_numbers(0)
    assert not Table(["accuracy"], [*cells, ["none (yet)"]]).holds_numbers(0)
