"""The site is built without a warning, and a browser shows it without asking anybody else."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WIDTHS = {1280: "light", 390: "dark"}
# What may be wider than the screen stands in a box that scrolls by itself.
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

pytestmark = pytest.mark.slow
pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", str(directory)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return directory


@pytest.fixture(scope="module")
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def pages(site):
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def test_every_section_and_notebook_has_pages(site):
    shown = set(pages(site))
    assert {"index.html", "gallery.html", "results.html", "versions.html"} <= shown
    for path in ROOT.glob("notebooks/*.ipynb"):
        assert f"notebooks/{path.stem}.html" in shown
        assert list((site / "notebooks").glob(f"{path.stem}_*.png")), f"{path.stem} has no pictures"


def test_llms_txt_lists_the_pages_with_their_sources(site):
    text = (site / "llms.txt").read_text(encoding="utf-8")
    links = re.findall(r"^- \[(.+?)\]\((.+?)\): (.+)$", text, re.MULTILINE)
    assert len(links) > 40
    for _, link, about in links:
        source = (site / link).read_text(encoding="utf-8")
        assert source.startswith("# ") and about
        assert ":::" not in source  # an entry is its signature and docstring
    assert "argmax_q E_q" in (site / "api/inference.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_every_page(site, address, browser, width):
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=WIDTHS[width])
    page, wrong = context.new_page(), []
    page.on("request", lambda r: wrong.append(r.url) if is_elsewhere(r.url, address) else None)
    page.on("response", lambda r: wrong.append(f"{r.status} {r.url}") if r.status > 399 else None)
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    for name in pages(site):
        page.goto(address + name)
        if (beyond := page.evaluate(OVERFLOW)) > 0:
            wrong.append(f"{name} is {beyond} pixels too wide")
    context.close()
    assert wrong == []


def is_elsewhere(url, address):
    return not url.startswith((address, "data:", "blob:"))


def test_the_search_finds_and_the_colours_change(address, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.goto(address + "index.html")
    page.fill("input.md-search__input", "variational")
    found = page.locator("a.md-search-result__link", has_text="variational").first
    found.wait_for(state="attached", timeout=20_000)
    page.keyboard.press("Escape")
    assert page.locator("body").get_attribute("data-md-color-scheme") == "default"
    page.locator("label[title=Dark]").click()
    assert page.locator("body").get_attribute("data-md-color-scheme") == "slate"
    context.close()
