"""What MkDocs does besides: notebooks become pages, files beside `docs/` are served, `llms.txt`."""

import importlib
import inspect
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent
BESIDE = ("benchmarks/results/*.png", "benchmarks/results/*.json", "CONTRIBUTING.md")
ENTRY = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
OUT = re.compile(r"\]\((?:\.\./)+(?=notebooks/|benchmarks/|CONTRIBUTING)([^)]*)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the notebooks with their outputs, and what the pages link to outside of `docs/`."""
    for pattern in BESIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        text, pictures = notebook(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and the pictures that it shows by their names."""
    settings = {"unique_key": path.stem, "output_files_dir": "."}
    text, resources = MarkdownExporter().from_filename(str(path), resources=settings)
    pictures = {Path(name).name: content for name, content in resources["outputs"].items()}
    for name in pictures:
        link = rf"!\[\w+\]\([^)]*{re.escape(name)}\)"
        text = re.sub(link, f"![What the cell drew]({name})", text)
    return text, pictures


def on_page_markdown(markdown: str, page: Page, **_) -> str:
    """Points links that leave `docs/` to where the site has what they mean."""
    up = "../" * page.file.src_uri.count("/")
    if not page.ancestors:
        page.meta["hide"] = ["navigation"]  # it would hold this page alone

    def inside(link: re.Match) -> str:
        return f"]({up}{link[1].replace('.ipynb', '.md')})"

    return OUT.sub(inside, markdown)


def on_nav(nav: Navigation, **_) -> None:
    """Remembers the order of the pages."""
    ORDER[:] = nav.pages


ORDER: list[Page] = []


def on_post_build(config: MkDocsConfig) -> None:
    """Writes `llms.txt`: every page with what it is about, and its source beside it."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]
    section = None
    for page in ORDER:
        above = page.ancestors[-1].title if page.ancestors else "jfractal"
        if above != section:
            lines += ["", f"## {above}", ""]
            section = above
        source = Path(config.site_dir, page.file.src_uri)
        source.parent.mkdir(parents=True, exist_ok=True)
        text = ENTRY.sub(described, page.markdown or "")
        source.write_text(text, encoding="utf-8")
        lines.append(f"- [{page.title}]({page.file.src_uri}): {first_sentence(text)}")
    Path(config.site_dir, "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def first_sentence(markdown: str) -> str:
    """The first sentence of the first paragraph that is prose."""
    prose = (block for block in markdown.split("\n\n") if re.match(r"[A-Z`*]", block))
    paragraph = " ".join(next(prose, "").split())
    return re.split(r"(?<=[.:]) ", paragraph)[0]


def described(entry: re.Match) -> str:
    """A name of the API as text: what its docstring says, or its value."""
    module, _, name = entry[1].rpartition(".")
    value = getattr(importlib.import_module(module), name)
    is_described = inspect.isclass(value) or inspect.isfunction(value)
    return f"### {name}\n\n{inspect.getdoc(value) if is_described else value}"
