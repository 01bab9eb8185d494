"""How Sphinx builds the site from these pages and the docstrings: `make site`."""

import dataclasses
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

DOCS = pathlib.Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

import flax.linen as nn  # noqa: E402

import normjax  # noqa: E402
from docs.generate import docstrings  # noqa: E402
from normjax import layers, models  # noqa: E402

project = "normjax"
author = "the authors of normjax"
project_copyright = author
release = version = normjax.__version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["results/*", "generate"]
default_role = "code"  # docstrings have names between single backticks

myst_heading_anchors = 4

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
add_module_names = False
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Collections", "params_style")]

copybutton_prompt_text = ">>> "
html_theme = "furo"
html_title = f"normjax {release}"
html_show_sourcelink = False
html_static_path = ["static"]
html_extra_path = ["example.html"]  # a page as the report writes it
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}

NAVIGATION = {  # caption -> page -> its name there, if that is not its heading
    "Use": {
        "getting_started": "",
        "growing": "Growing a study",
        "tuning": "Fair comparisons",
        "adding": "Your own norm, model, data",
        "scale": "Clusters",
        "export": "",
    },
    "Understand": {
        "architecture": "Words and layout",
        "statistics": "",
        "looks": "When to stop",
        "numerics": "",
        "performance": "",
        "reliability": "",
        "comparison": "",
    },
    "Found": {"findings": "", "claims": "", "results": ""},
    "Reference": {
        "reference/config": "",
        "reference/norms": "",
        "reference/optimizers": "",
        "reference/models": "",
        "reference/data": "",
        "reference/probes": "",
        "reference/columns": "",
        "reference/names": "",
    },
    "API": {
        "api/study": "",
        "api/layers": "",
        "api/ops": "",
        "api/optimizers": "",
        "api/models": "",
        "api/statistics": "",
        "api/report": "",
    },
}


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_navigation)
    app.connect("source-read", link_records)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-process-docstring", mark_formulas, priority=400)


def add_navigation(app: Any, page: str, source: list[str]) -> None:
    """Adds the contents to the first page, which itself stays plain Markdown."""
    if page != "index":
        return
    for caption, pages in NAVIGATION.items():
        listed = "\n".join(
            f"{name} <{path}>" if name else path
            for path, name in pages.items()
            if (DOCS / f"{path}.md").exists()
        )
        options = f":hidden:\n:caption: {caption}"
        source[0] += f"\n```{{toctree}}\n{options}\n\n{listed}\n```\n"


def link_records(app: Any, page: str, source: list[str]) -> None:
    """Links to a folder of results go to its section of the page of records."""
    up = "../" * page.count("/")
    link = re.compile(r"\]\((?:\.\./)*results/(\w+)/?\)")
    source[0] = link.sub(
        lambda found: f"]({up}results.md#{found[1].lower()})", source[0]
    )


def mark_formulas(
    app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Makes reStructuredText of our docstrings, which are written for people.

    An indented block after an empty line becomes a literal block, sources become a
    list, and bars and stars outside of backticks stand for themselves.
    """
    made: list[str] = []
    for literal, block in blocks(lines):
        if literal:
            made += ["::", "", *block]
        elif block[0] == "References:":
            sources = [f"* {linked(x)}" for x in docstrings.entries(block[1:])]
            made += [".. rubric:: References", "", *sources, ""]
        elif block[0] == "Returns:":
            made += [".. rubric:: Returns", "", *returned(block[1:]), ""]
        else:
            made += escaped("\n".join(block)).split("\n")
    lines[:] = made


def blocks(lines: list[str]) -> Iterator[tuple[bool, list[str]]]:
    """The parts of a docstring: whether each is code or a formula, and its lines.

    A section, `Args:` and what is indented below it, is one part.
    """
    block: list[str] = []
    literal = section = False
    for line in lines:
        indented = not line.strip() or line.startswith("    ")
        gap = not block or not block[-1].strip()
        head = line in SECTIONS
        begins = indented and gap and line.strip() and not literal and not section
        if begins or head or (not indented and (literal or section)):
            if block:
                yield literal, block
            block, literal, section = [], bool(begins), head
        block.append(line)
    if block:
        yield literal, block


def returned(lines: list[str]) -> list[str]:
    """What is returned: a list item for each `name`, a paragraph for all else."""
    made: list[str] = []
    for line in escaped("\n".join(lines)).split("\n"):
        text = line.removeprefix("    ")
        if text.startswith("`"):
            made.append(f"* {text}")
        elif text.startswith(" "):
            made.append(f"  {text.strip()}")
        else:
            made += [""] * bool(made and made[-1][:1] in "* ") + [text]
    return made


def escaped(text: str) -> str:
    """Bars and stars outside of backticks with a backslash."""
    parts = re.split(r"`([^`]*)`", text)
    plain = lambda part: re.sub(r"([|*])(?! `)", r"\\\1", part)
    return "".join(
        f"`{part.strip()}`" if i % 2 else plain(part) for i, part in enumerate(parts)
    )


def linked(entry: str) -> str:
    """A source with a link where it has an arXiv id."""
    link = r"`arXiv:\1 <https://arxiv.org/abs/\1>`__"
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", link, escaped(entry))


def shorten(
    app: Any, kind: str, name: str, thing: Any, options: Any, words: str, result: str
) -> tuple[str, str]:
    """A signature without long names of types; of modules and tuples, the fields."""
    if isinstance(thing, type) and issubclass(thing, nn.Module):
        return module_signature(thing), ""
    if isinstance(thing, type) and hasattr(thing, "_fields"):
        return f"({', '.join(thing._fields)})", ""
    short = lambda text: text and text.replace("jaxlib._jax.Array", "Array")
    return short(words), short(result)


def module_signature(module: type[nn.Module]) -> str:
    """The fields of a flax module and their defaults."""
    texts = []
    for field in dataclasses.fields(module):  # type: ignore[arg-type]
        if field.name in ("parent", "name"):
            continue
        value = field.default
        text = getattr(value, "__name__", repr(value))
        given = value is not dataclasses.MISSING
        texts.append(f"{field.name}={text}" if given else field.name)
    return f"({', '.join(texts)})"


def skip_fields(
    app: Any, kind: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """Fields of tuples and of flax modules stand in the signature already."""
    field = type(thing).__name__ == "_tuplegetter"
    return True if field or (kind == "class" and name in FIELDS) else None


FIELDS = {
    field.name
    for thing in (*vars(layers).values(), *vars(models).values())
    if isinstance(thing, type) and issubclass(thing, nn.Module)
    for field in dataclasses.fields(thing)  # type: ignore[arg-type]
}
SECTIONS = ("Args:", "Returns:", "Raises:", "References:", "Collections:")
