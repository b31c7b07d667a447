"""Pages made of the code: the verbs, families, detectors, methods, searchers, cures, and the API.

``write(folder)`` makes them all. A module's docstring is its page; numbers come from the cards,
which come from records.
"""

from __future__ import annotations

import ast
import io
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mo_interp"
METHODS = {
    "patching": "activation patching, exhaustively; the reference",
    "attribution/gradients": "attribution patching and integrated gradients",
    "attribution/relp": "relevance propagation",
    "attribution/edges": "edge attribution, EAP and EAP-IG",
    "attribution/paths": "path patching",
    "attribution/acdc": "automatic circuit discovery",
    "attribution/direct": "direct logit attribution",
    "diffing": "against another model",
    "hypotheses": "is this set of sites the circuit?",
}
"""Localisation methods, by module."""


def write(folder: Path) -> list[Path]:
    """Every generated page, into an emptied folder; returns them."""
    shutil.rmtree(folder, ignore_errors=True)
    found = [_put(folder / "verbs.md", _verbs())]
    found += _section(folder, "families", "Families", _families())
    found += _section(folder, "detectors", "Detectors", _detectors())
    found += _section(folder, "localisation", "Localisation", _localisation())
    found += _section(folder, "searchers", "Searchers", _searchers())
    found += _section(folder, "removal", "Removal", _removal())
    return found + _section(folder, "api", "The API", _api())


def _put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    return path


def _section(folder: Path, name: str, title: str, pages: Iterable[tuple[str, str]]) -> list[Path]:
    """A page for each (key, text), and one that lists them."""
    made = [_put(folder / name / f"{key}.md", text) for key, text in pages]
    listed = "\n".join(path.stem for path in made)
    index = f"# {title}\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```"
    return [*made, _put(folder / name / "index.md", index)]


def modules() -> list[str]:
    """Public modules of the package, by dotted name below it."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        private = any(p.startswith("_") and p != "__init__" for p in parts)
        if parts[0] != "organisms" and not private:
            found.append(".".join(parts).removesuffix(".__init__"))
    return [name for name in found if name not in ("__init__",)]


def docstring(path: Path) -> str:
    """The module docstring of a file, or of a package."""
    path = path / "__init__.py" if path.is_dir() else path
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _rst(text: str) -> str:
    """A docstring, inside a Markdown page."""
    return _raw(shown(text))


def _raw(text: str) -> str:
    return f"```````{{eval-rst}}\n{text}\n```````"


def shown(text: str) -> str:
    """A docstring as reStructuredText: itself where it is that, else as it stands in the code."""
    if sound(text):
        return text
    return "::\n\n" + "\n".join(f"    {line}" for line in text.splitlines())


def sound(text: str) -> bool:
    """Whether docutils reads it without a complaint; roles of Sphinx are taken for literals."""
    from docutils.core import publish_doctree

    plain = re.sub(r":(?:py:)?\w+:`[^`]+`", "``x``", text)
    told = io.StringIO()
    try:
        publish_doctree(plain, settings_overrides={"warning_stream": told, "report_level": 1})
    except AttributeError:  # a directive of Sphinx, which only a build can read
        return True
    return not told.getvalue()


def _first(text: str) -> str:
    return text.partition("\n\n")[0].replace("\n", " ").rstrip(".")


# Sections ---------------------------------------------------------------------------------------


def _verbs() -> str:
    import click

    from mo_interp.cli import main

    lines = ["# The verbs", "", "What `--help` says of each."]
    for name, verb in sorted(main.commands.items()):
        context = click.Context(verb, info_name=f"mo-interp {name}", max_content_width=90)
        lines += ["", f"## {name}", "", "```text", verb.get_help(context), "```"]
    return "\n".join(lines)


def _families() -> Iterable[tuple[str, str]]:
    from mo_interp.finding import ORGANISMS, files, load

    specs = {name: load(path) for name, path in files([ORGANISMS], "organism").items()}
    for family in sorted({spec.family for spec in specs.values()}):
        members = [name for name, spec in specs.items() if spec.family == family]
        lines = [f"# {family}", ""]
        for name in members:
            path = ROOT / "organisms" / f"{name}.py"
            text = docstring(path)
            card = path.with_suffix(".md")
            lines += [f"## {name}", "", _rst(text), "", _card(card), ""]
            lines += ["```python", path.read_text(encoding="utf-8").rstrip(), "```", ""]
        yield family, "\n".join(lines)


def _card(path: Path) -> str:
    """A card with its headings below the page's; what is said where there is none."""
    if not path.exists():
        return "No seed of it is published yet."
    lines, fenced = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        title = line.startswith("# ") and not fenced
        deeper = f"#{line}" if line.startswith("#") and not fenced else line
        lines.append("" if title else deeper)
    return "\n".join(lines)


def _detectors() -> Iterable[tuple[str, str]]:
    from mo_interp.detectors import detector

    for path in sorted((PACKAGE / "detectors").glob("[a-z]*.py")):
        if path.stem == "base":
            continue
        one = detector(path.stem)
        about = [f"# {path.stem}", "", _rst(docstring(path)), "", f"It needs: **{one.needs}**."]
        about += ["", f"Paper: {one.paper}." if one.paper else ""]
        yield path.stem, "\n".join([*about, "", _members(f"detectors.{path.stem}")])


def _members(name: str) -> str:
    """Where the classes of a module are told."""
    return f"Class and constants: {{py:mod}}`mo_interp.{name}`."


def _localisation() -> Iterable[tuple[str, str]]:
    for name, told in METHODS.items():
        path = PACKAGE / name
        path = path if path.is_dir() else path.with_suffix(".py")
        key = name.replace("/", ".")
        yield key.rpartition(".")[2], _page(key.rpartition(".")[2], told, docstring(path), key)


def _page(title: str, told: str, text: str, module: str) -> str:
    link = f"The code: {{py:mod}}`mo_interp.{module}`."
    return f"# {title}\n\n*{told[:1].upper()}{told[1:]}.*\n\n{_rst(text)}\n\n{link}"


def _searchers() -> Iterable[tuple[str, str]]:
    from mo_interp import discovery

    for name in discovery.names():
        text = docstring(PACKAGE / "discovery" / f"{name}.py")
        yield name, _page(name, "a search for the trigger", text, f"discovery.{name}")


def _removal() -> Iterable[tuple[str, str]]:
    from mo_interp.removal import METHODS as cures

    for name, told in cures.items():
        text = f"```sh\nmo-interp cure quirky_user --how {name} --plan\n```"
        where = "What every method takes out, and how: {py:mod}`mo_interp.removal.choosing`. "
        where += "What certifies it: {py:mod}`mo_interp.removal.certificate`."
        yield name, f"# {name}\n\nIt takes out {told}.\n\n{text}\n\n{where}"


def _api() -> Iterable[tuple[str, str]]:
    for name in modules():
        body = f".. automodule:: mo_interp.{name}\n   :members:\n   :ignore-module-all:\n"
        yield name, f"# mo_interp.{name}\n\n{_raw(body)}"
