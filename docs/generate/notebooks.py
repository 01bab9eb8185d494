"""The table of the notebooks; with badges once setup.cfg has the address of a copy."""

import configparser
import json
import re
from pathlib import Path

from docs.generate.docstrings import cell
from docs.generate.found import ROOT
from normjax.checks.document import markdown

COLAB = "https://colab.research.google.com"
BADGE = f"{COLAB}/assets/colab-badge.svg"


def tables() -> dict[str, str]:
    """A line for each notebook: its title and its first sentence."""
    folder, colab = ROOT / "notebooks", colab_address(url())
    rows = [row(path, colab) for path in sorted(folder.glob("*.ipynb"))]
    head = ["notebook", "from its first lines", *(["in Colab"] if colab else [])]
    return {"notebooks": markdown(head, rows)}


def row(path: Path, colab: str) -> list[str]:
    """The cells of a notebook."""
    title, text = opening(path)
    cells = [f"[{path.stem}](notebooks/{path.name}): {title}", text]
    if colab:
        cells.append(f"[![Open in Colab]({BADGE})]({colab}/{path.name})")
    return cells


def opening(path: Path) -> tuple[str, str]:
    """The heading of a notebook and the first sentence after it."""
    first = json.loads(path.read_text())["cells"][0]["source"]
    heading, _, rest = "".join(first).partition("\n")
    text = " ".join(rest.split()).removeprefix("**Question.** ")
    sentence = re.match(r".*?[.?](?=\s|$)", text)
    return cell(heading.lstrip("# ")), cell(sentence[0] if sentence else text)


def url() -> str:
    """The address of the project; empty if setup.cfg names none."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["metadata"].get("url", "")


def colab_address(url: str) -> str:
    """Where Colab opens the notebooks; empty if the address is not one of GitHub."""
    place = url.removeprefix("https://github.com/").strip("/")
    known = place and place != url.strip("/")
    return f"{COLAB}/github/{place}/blob/main/notebooks" if known else ""
