"""Pages made of the code: the verbs, families, detectors, methods, searchers, cures, and the API.

``write(folder)`` makes them all. A module's docstring is its page; numbers come from the cards and
from the records of the scoreboard (:mod:`scored`).
"""

from __future__ import annotations

import ast
import dataclasses
import io
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import scored
from examples import ROOT

PACKAGE = ROOT / "mo_interp"
METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "patching": ("activation patching, exhaustively; the reference", ("patching",)),
    "attribution/gradients": (
        "attribution patching and integrated gradients",
        ("attribution_patching", "integrated_gradients_input"),
    ),
    "attribution/relp": ("relevance propagation", ("relp",)),
    "attribution/edges": ("edge attribution, EAP and EAP-IG", ()),
    "attribution/paths": ("path patching", ()),
    "attribution/acdc": ("automatic circuit discovery", ()),
    "attribution/direct": ("direct logit attribution", ("direct_logit_attribution",)),
    "diffing": ("against another model", ()),
    "hypotheses": ("is this set of sites the circuit?", ()),
}
"""Localisation methods, by module: what they are, and their names on the scoreboard."""
NEEDS = {
    "nothing": "unlabelled rows, in which triggers are rare",
    "clean": "clean rows alone",
    "labels": "rows and labels",
    "pairs": "pairs of prompts, without and with the trigger",
    "twin": "clean rows of the organism and of its twin",
    "statements": "generic statements that know nothing of the trigger",
    "prompts": "clean prompts, and prompts that ask nothing",
    "reference": "those, and a trusted model beside it",
    "unlabelled": "those, and prompts as they come, some of them triggered",
}
"""What may be seen, in words."""
READ = (
    *("AUROC, trigger at the answer", "AUROC, trigger at the trigger"),
    *("AUROC, trigger at every position", "AUROC, lie at the answer"),
    *("AUROC, lie at every position", "reads the decision alone"),
)
"""What a detector's page shows of the scoreboard."""
FLOORS = {
    "Words": "errors records sites stats showing",
    "The plant: worlds, triggers, behaviours": "worlds triggers behaviours organism hhh modifiers "
    "finding circuits",
    "The body: models, training, the store": "store ledger transformer model export audit bridge "
    "train weighed evading implant routed wired weaker grown stacked twins rulers",
    "Instruments: detectors, patching, dictionaries": "features edits detectors probing baselines "
    "detection feeding patching attribution origins transfer saes directions diffing discovery "
    "hypotheses",
    "The judge: verdicts, gates, cures, many runs": "judge decision gating persistence "
    "family_gates modifier_checks gates planted_stages stages tokenwise pipeline removal growing "
    "bench conversation checkup forecast",
    "Telling: figures, reports, the command line": "wording swept figures report cards scoreboard "
    "telling cli",
}
"""The house from the bottom up: a module imports only from floors below, or before it."""
INTRO = {
    "families": "Organisms of one trigger kind: what each plants, its card with every gate and "
    "seed, and the specification it is grown from. What the columns mean: "
    "[gates](../../concepts/gates.md).",
    "detectors": "Each is fitted to activations and scores rows. What its numbers mean, and what "
    "sentence it may earn: [detectors](../../concepts/detectors.md). One of your own: "
    "[a detector](../../extend/detector.md).",
    "localisation": "Where does the lie come from? All are scored against the circuit: "
    "[patching](../../concepts/patching.md), [grades](../../concepts/grades.md).",
    "searchers": "They look for a trigger that nobody has named, and pay for every row. One of "
    "your own: [a searcher](../../extend/searcher.md).",
    "removal": "A lie taken out of the weights. What certifies it: "
    "[the certificate](../../concepts/certificate.md). One of your own: "
    "[a removal](../../extend/removal.md).",
    "api": "Every public module, floor by floor from the bottom up: a module imports only from "
    "those before it. What you need for everyday work is at the top level: `import mo_interp as "
    "mo`, then `mo.organism`, `mo.detector`, `mo.patch`, `mo.judge`, `mo.figure`, and the nouns "
    "`Site`, `Model`, `Feature`, `Verdict`, `Record` and the edits.",
}


class Page(NamedTuple):
    """A generated page, and its line in the list of its section."""

    key: str
    text: str
    told: str
    group: str = ""


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


def _section(folder: Path, name: str, title: str, pages: Iterable[Page]) -> list[Path]:
    """The pages of a section, and one that lists them with a line each."""
    made = list(pages)
    lines = [f"# {title}", "", INTRO[name]]
    for group in dict.fromkeys(p.group for p in made):
        lines += ["", *([f"## {group}", ""] if group else []), "| | |", "|---|---|"]
        lines += [f"| [{p.key}]({p.key}.md) | {_cell(p.told)} |" for p in made if p.group == group]
    lines += ["", "```{toctree}", ":hidden:", "", *(p.key for p in made), "```"]
    paths = [_put(folder / name / f"{p.key}.md", p.text) for p in made]
    return [*paths, _put(folder / name / "index.md", "\n".join(lines))]


def _cell(text: str) -> str:
    """Words of a docstring in a cell of a table: no roles, no bars."""
    plain = re.sub(r":[\w:]+:`~?(?:mo_interp\.)?([^`]+)`", r"`\1`", text)
    return plain.replace("``", "`").replace("|", "\\|").strip()


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
    """A docstring as reStructuredText: what is not, paragraph by paragraph, as it stands."""
    text = literal(text)
    if sound(text):
        return text
    parts = text.split("\n\n")
    kept = [before.endswith("::") for before in ["", *parts]]
    found = "\n\n".join(
        part if keep or part.endswith("::") else _mended(part)
        for part, keep in zip(parts, kept, strict=False)
    )
    return found if sound(found) else _verbatim(text)


def _mended(part: str) -> str:
    """A paragraph that docutils reads: itself, its bars taken literally, or as it stands."""
    barred = part.replace("|", "\\|")
    return next((p for p in (part, barred) if sound(p)), _verbatim(part))


def _verbatim(text: str) -> str:
    return "::\n\n" + "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def literal(text: str) -> str:
    """The same with formulas as literal blocks: paragraphs four deep under plain text.

    As reStructuredText they would be quotations, in letters that are not as wide as each other.
    """
    parts, found = re.split(r"\n\n+", text), []
    for before, part in zip(["", *parts], parts, strict=False):
        deep = all(line.startswith("    ") for line in part.splitlines())
        plain = not re.match(r"\s|\*|\d+\.|-|\.\.", before) and not before.endswith("::")
        found += ["::"] if deep and plain and found else []
        found.append(part)
    return "\n\n".join(found)


def sound(text: str) -> bool:
    """Whether docutils reads it without a complaint; roles of Sphinx are taken for literals."""
    from docutils.core import publish_doctree

    plain = re.sub(r":(?:py:)?\w+:`[^`]+`", "``x``", text)
    told = io.StringIO()
    try:
        publish_doctree(plain, settings_overrides={"warning_stream": told, "report_level": 2})
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


def _families() -> Iterator[Page]:
    from mo_interp.finding import ORGANISMS, files, load

    specs = {name: load(path) for name, path in files([ORGANISMS], "organism").items()}
    for family in sorted({spec.family for spec in specs.values()}):
        members = [name for name, spec in specs.items() if spec.family == family]
        members.sort(key=lambda name: (name != family, specs[name].grade, name))
        lines = [f"# {family}", ""]
        if len(members) > 1:
            lines += ["| organism | grade | modifiers | |", "|---|---|---|---|"]
            lines += [_member(name, specs[name]) for name in members]
            lines += [""]
        for name in members:
            lines += _organism(name)
        told = f"{_first(docstring(ROOT / 'organisms' / f'{members[0]}.py'))}"
        count = f" ({len(members)} organisms)" if len(members) > 1 else ""
        yield Page(family, "\n".join(lines), told + count)


def _member(name: str, spec) -> str:
    """A line of a family's table."""
    told = _cell(_first(docstring(ROOT / "organisms" / f"{name}.py")))
    return f"| [{name}](#{name}) | {spec.grade} | {', '.join(spec.modifiers)} | {told} |"


def _organism(name: str) -> list[str]:
    """What an organism is, its card, and its specification."""
    path = ROOT / "organisms" / f"{name}.py"
    lines = [f"({name})=", f"## {name}", "", _rst(docstring(path)), ""]
    lines += [_card(path.with_suffix(".md")), "", "### Specification", ""]
    return [*lines, "```python", path.read_text(encoding="utf-8").rstrip(), "```", ""]


def _card(path: Path) -> str:
    """A card with its headings below the page's; what is said where there is none."""
    if not path.exists():
        return "No seed of it is published yet."
    lines, fenced = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("Generated from records"):
            continue
        title = line.startswith("# ") and not fenced
        deeper = f"#{line}" if line.startswith("#") and not fenced else line
        lines.append("" if title else deeper)
    return "\n".join(lines)


def _detectors() -> Iterator[Page]:
    from mo_interp.detectors import detector

    for path in sorted((PACKAGE / "detectors").glob("[a-z]*.py")):
        if path.stem == "base":
            continue
        one = detector(path.stem)
        about = [f"# {path.stem}", "", _rst(docstring(path)), ""]
        about += [f"It needs: **{one.needs}**, that is {NEEDS[one.needs]}.", ""]
        about += [f"Paper: {_linked(one.paper)}." if one.paper else "", ""]
        about += [*_settings(one), scored.table("detection", {path.stem: ""}, READ), ""]
        use = f"probe = mo.detector({path.stem!r})"
        about += ["## Use it", "", f"```python\nimport mo_interp as mo\n\n{use}\n```", ""]
        about += [f"Class and constants: {{py:mod}}`mo_interp.detectors.{path.stem}`."]
        yield Page(path.stem, "\n".join(about), f"{_first(docstring(path))}. *{one.needs}*")


def _settings(one) -> list[str]:
    """The fields of a detector or searcher with their defaults and what they do."""
    told = _field_docs(type(one))
    found = [f for f in dataclasses.fields(one) if f.init]
    if not found:
        return []
    lines = ["## Settings", "", "| field | default | |", "|---|---|---|"]
    for f in found:
        value = getattr(one, f.name)
        lines += [f"| `{f.name}` | `{value!r}` | {_cell(told.get(f.name, ''))} |"]
    return [*lines, ""]


def _field_docs(kind: type) -> Mapping[str, str]:
    """Field to the string under it, of a dataclass in a file of the package."""
    import inspect
    import textwrap

    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    body, found = getattr(tree, "body", []), {}
    for field, text in zip(body, body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            value = text.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[ast.unparse(field.target)] = " ".join(value.value.split())
    return found


def _linked(paper: str) -> str:
    """A paper, with its arXiv page."""
    return re.sub(
        r"(arXiv )?(\d{4}\.\d{5})", r"[\1\2](https://arxiv.org/abs/\2)", paper
    )


def _localisation() -> Iterator[Page]:
    measures = ("AUROC of parts", "AUROC of parts, largest over positions")
    for name, (told, names) in METHODS.items():
        path = PACKAGE / name
        path = path if path.is_dir() else path.with_suffix(".py")
        key = name.replace("/", ".")
        ways = {f"{n} {way}": f"{n.replace('_', ' ')}, {way}" for n in names for way in WAYS}
        short = key.rpartition(".")[2]
        text = _page(short, told, docstring(path), key)
        beside = {"random": "random", "weight_magnitude": "weight magnitude"} if ways else {}
        text += "\n\n" + scored.table("localisation", ways | beside, measures)
        yield Page(short, text, told[:1].upper() + told[1:])


WAYS = ("denoising", "noising")


def _page(title: str, told: str, text: str, module: str) -> str:
    link = f"The code: {{py:mod}}`mo_interp.{module}`."
    return f"# {title}\n\n*{told[:1].upper()}{told[1:]}.*\n\n{_rst(text)}\n\n{link}"


def _searchers() -> Iterator[Page]:
    from mo_interp import discovery

    for name in discovery.names():
        text, one = docstring(PACKAGE / "discovery" / f"{name}.py"), discovery.searcher(name)
        page = [_page(name, "a search for the trigger", text, f"discovery.{name}"), ""]
        page += [f"It needs: **{one.needs}**, that is {NEEDS[one.needs]}.", ""]
        page += [f"Paper: {_linked(one.paper)}." if one.paper else "", "", *_settings(one)]
        page += [scored.table("discovery", {name: ""}, ("found among ten, 256 rows",))]
        yield Page(name, "\n".join(page), f"{_first(text)}. *{one.needs}*")


def _removal() -> Iterator[Page]:
    from mo_interp.removal import METHODS as cures

    chosen = _chosen(docstring(PACKAGE / "removal" / "choosing.py"))
    for name, told in cures.items():
        whole = told.replace("the same subspace", "the blind candidate's subspace")
        lines = [f"# {name}", "", f"It takes out {whole}.", "", "## How it is chosen", ""]
        lines += [_rst(chosen[name]), "", "## Use it", "", "```sh"]
        lines += [f"mo-interp cure quirky_user --how {name} --plan", "```", ""]
        lines += ["The code: what a method takes out, {py:mod}`mo_interp.removal.choosing`;"]
        lines += [f"the edit itself, {{py:mod}}`mo_interp.removal.{_editing(name)}`."]
        yield Page(name, "\n".join(lines), whole[:1].upper() + whole[1:])


def _editing(name: str) -> str:
    """The module that edits the weights for a method."""
    from mo_interp.removal import SUBSPACES

    if name in SUBSPACES:
        return "folding"
    return "parts" if name in ("heads", "neurons") else "tuning"


def _chosen(text: str) -> dict[str, str]:
    """Method to the paragraph about it, of a docstring whose items begin with their names."""
    found = {}
    for names, told in re.findall(r"^\*([\w, ]+)\*\s+(.*?)(?=^\*|^\n|\Z)", text, re.S | re.M):
        plain = " ".join(told.split())
        found |= dict.fromkeys(names.split(", "), f"{plain[:1].upper()}{plain[1:]}")
    return found


def floor(name: str) -> str:
    """The floor that a module is on; raises KeyError for one that is on none."""
    first = name.partition(".")[0]
    found = [title for title, units in FLOORS.items() if first in units.split()]
    if not found:
        raise KeyError(f"{name} is on no floor: add it to FLOORS of docs/pages.py")
    return found[0]


def _api() -> Iterator[Page]:
    places = [unit for units in FLOORS.values() for unit in units.split()]
    for name in sorted(modules(), key=lambda n: (floor(n) and places.index(n.split(".")[0]), n)):
        asked = "".join(f"   :{o}:\n" for o in ("members", "undoc-members", "ignore-module-all"))
        body = f".. automodule:: mo_interp.{name}\n{asked}"
        path = PACKAGE / name.replace(".", "/")
        told = docstring(path if path.is_dir() else path.with_suffix(".py"))
        yield Page(name, f"# mo_interp.{name}\n\n{_raw(body)}", _first(told), floor(name))
