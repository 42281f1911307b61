import html.parser
import re

import pytest

from experiments.report import Outcome, Section, Table, is_version, render, show

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
}
PIXEL = b"\x89PNG picture"


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


def page(tmp_path, requested="digits", sections=(), **about):
    (tmp_path / "count.png").write_bytes(PIXEL)
    result = {"dataset": "digits", "dataset_requested": requested, "accuracy": 0.98765432}
    return render(
        "Count.\n\n    make <this>", RECORD, ABOUT | about, Outcome(result, sections), tmp_path
    )


def words(text):
    return " ".join(re.sub(r"<style>.*</style>|<[^>]*>", "", text, flags=re.DOTALL).split())


def first_line(text):
    return words(text[text.index("</h1>") : text.index("</p>")])


def test_first_line_says_what_ran_on_what(tmp_path):
    assert first_line(page(tmp_path)) == (
        "Ran on digits, with cpu: preset laptop, seed 0, begun 2026-01-02T03:04:05+00:00, 1.5 s."
    )


def test_first_line_says_that_other_data_stood_in(tmp_path):
    line = first_line(page(tmp_path, requested="uoft-cs/cifar10"))
    assert line.startswith("Ran on digits, NOT on uoft-cs/cifar10 as requested, with cpu")


def test_first_line_says_that_the_time_is_not_all(tmp_path):
    assert first_line(page(tmp_path, resumed=True)).endswith("1.5 s since it was resumed.")


def test_page_has_result_settings_versions_and_note(tmp_path):
    html = page(tmp_path)
    text = words(html)
    for part in ("accuracy 0.9877", "train.rate 0.1", "python 3.11", "Commit unknown"):
        assert part in text
    assert text.endswith("Lab note Count. make &lt;this&gt;")
    assert "<p>Count.</p>" in html and "<pre>    make &lt;this&gt;</pre>" in html


def test_section_shows_paragraphs_table_and_picture(tmp_path):
    table = Table(
        ["method", "nll", "why"],
        [["<HMC>", "-", "short"], ["variational", 0.25, "long " * 9], ["MAP", 1.0, "short"]],
    )
    section = Section("Part", "One.\n\nTwo & three.", table, [("count", "What it shows")])
    text = page(tmp_path, sections=[section])
    assert text.count("<p>One.</p>") == text.count("<p>Two &amp; three.</p>") == 1
    for cell in (
        "<td>&lt;HMC&gt;</td>",
        '<td class="number">-</td>',
        '<td class="number">0.25</td>',
    ):
        assert cell in text
    assert '<td class="prose">long' in text and "<td>short</td>" in text
    assert '<th scope="col" class="number">nll</th>' in text
    assert "data:image/png;base64,iVBORyBwaWN0dXJl" in text
    assert "<figcaption>What it shows</figcaption>" in text


def test_page_is_well_formed_and_needs_nothing_else(tmp_path):
    section = Section("Part", table=Table(["a"], []), figures=[("count", "caption")])
    text = page(tmp_path, sections=[section])
    balance = Balance()
    balance.feed(text)
    assert balance.open == []
    assert not re.search(r"<link|<script|src=\"(?!data:)|url\(", text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.98765432, "0.9877"),
        (1.5, "1.5"),
        (123456.7, "123,457"),
        (2e-7, "2e-07"),
        (33724618, "33,724,618"),
        (True, "yes"),
        ("a, b", "a, b"),
    ],
)
def test_show(value, shown):
    assert show(value) == shown


def test_outcome_must_say_which_data():
    with pytest.raises(KeyError, match="dataset_requested"):
        Outcome({"dataset": "digits", "accuracy": 1.0})


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
