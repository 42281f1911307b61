"""The index of runs in a browser, with real clicks."""

import pytest

from experiments.report.index import write_index
from tests.experiments.made_runs import RECORD, RESULT, write

pytestmark = pytest.mark.slow

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
RUNS = {  # by directory: name, data, month, commit, epochs, figures, losses
    "digits/1": ("digits", "digits", 3, "aaa", 10, {"accuracy": 0.9, "nll": 0.3}, (3, 2, 1)),
    "digits/2": ("digits", "digits", 5, "bbb", 20, {"accuracy": 0.95}, (3, 1.5, 0.5)),
    "cifar/1": ("cifar", "CIFAR-10", 7, "bbb", 20, {"accuracy": 0.85, "ece": 0.02}, (4, 3, 2)),
}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for path, (name, dataset, month, commit, epochs, figures, losses) in RUNS.items():
        record = RECORD | {
            "name": name,
            "started": f"2026-{month:02}-01T06:48:00+00:00",
            "commit": commit,
            "config": {"seed": 0, "train": {"num_epochs": epochs, "batch_size": 50}},
        }
        about = {name: value for name, value in RESULT.items() if name != "accuracy"}
        write(root / path, record, about | figures | {"dataset": dataset}, losses)
    write(root / "broken/1").joinpath("config.json").write_text("{")
    write(root / "quick/1", RECORD, RESULT | {"preset": "quick"})
    return write_index(root)[0]


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def page(request, index, browser):
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, wrong = context.new_page(), []
    page.on("request", lambda r: None if r.url.startswith("file:") else wrong.append(r.url))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(index.as_uri())
    yield page
    assert page.evaluate(OVERFLOW) <= 0
    assert wrong == []
    context.close()


def paths(page):
    return page.eval_on_selector_all("#runs tbody tr", "rows => rows.map(r => r.dataset.path)")


def click_header(page, column):
    page.locator(f"th[data-column={column}] button").click()


def test_all_runs_are_shown_and_what_is_amiss_is_said(page):
    assert paths(page) == ["quick/1", "cifar/1", "digits/2", "digits/1"]
    assert page.locator("#count").inner_text() == "4 runs"
    assert "config.json is damaged" in page.locator("#amiss").inner_text()
    assert "quick" in page.locator("tr[data-path='quick/1'] td").nth(1).inner_text()


def test_filters_narrow_the_list(page):
    page.select_option("select[name=dataset]", "CIFAR-10")
    assert paths(page) == ["cifar/1"]
    assert page.locator("#count").inner_text() == "1 of 4 runs"
    page.get_by_role("button", name="All runs").click()
    page.wait_for_function("document.querySelectorAll('#runs tbody tr').length === 4")
    page.select_option("select[name=commit]", "bbb")
    assert paths(page) == ["cifar/1", "digits/2"]
    page.select_option("select[name=name]", "digits")
    assert paths(page) == ["digits/2"]
    page.get_by_role("button", name="All runs").click()
    page.wait_for_function("document.querySelectorAll('#runs tbody tr').length === 4")
    page.fill("input[name=from]", "2026-04-01")
    page.fill("input[name=until]", "2026-07-01")
    assert paths(page) == ["cifar/1", "digits/2"]


def test_any_figure_sorts(page):
    page.select_option("select[name=figure]", "accuracy")
    assert paths(page) == ["quick/1", "digits/2", "digits/1", "cifar/1"]
    click_header(page, "figure")
    assert paths(page) == ["cifar/1", "digits/1", "digits/2", "quick/1"]
    page.select_option("select[name=figure]", "ece")
    assert paths(page)[0] == "cifar/1"  # those without come last
    click_header(page, "started")
    assert paths(page) == ["quick/1", "cifar/1", "digits/2", "digits/1"]
    click_header(page, "started")
    assert paths(page) == ["digits/1", "digits/2", "cifar/1", "quick/1"]


def test_ticked_runs_are_compared(page):
    compare = page.locator("#compare")
    assert compare.is_disabled()
    page.locator("tr[data-path='digits/1'] input").check()
    assert compare.is_disabled()
    page.locator("tr[data-path='digits/2'] input").check()
    compare.click()
    differences = page.locator("#differences tbody tr").all_inner_texts()
    assert [text.split() for text in differences] == [
        ["commit", "bbb", "aaa"],
        ["train.num_epochs", "20", "10"],
    ]
    figures = page.locator("#figures tbody tr").all_inner_texts()
    assert [text.split() for text in figures] == [["accuracy", "0.95", "0.9"], ["nll", "–", "0.3"]]
    assert page.locator("#curve").input_value() == "MAP: loss"
    drawn = page.eval_on_selector_all("#plot path", "all => all.map(p => p.getAttribute('d'))")
    assert len(drawn) == 2 and drawn[0] != drawn[1]
    assert all(path.count("L") == 2 for path in drawn)
    page.locator("tr[data-path='cifar/1'] input").check()  # a third joins at once
    assert page.locator("#plot path").count() == 3
    assert page.locator("#differences thead th").count() == 4
    page.locator("tr[data-path='cifar/1'] input").uncheck()
    page.locator("tr[data-path='digits/1'] input").uncheck()
    assert page.locator("#comparison").is_hidden()


def test_a_run_leads_to_its_report(page):
    page.locator("tr[data-path='digits/1'] a").click()
    page.wait_for_url("**/digits/1/report.html")
    page.go_back()
