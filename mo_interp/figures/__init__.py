"""Figures, drawn from Records and from nothing else; this folder is the only importer of plotly.

The folder is the registry: ``behaviour.py`` is the figure ``behaviour``. A figure file has a
function ``draw(records) -> go.Figure``, may have ``table(records)``, which gives the lines of the
table behind it, and may not load a model. :func:`draw` also takes the path of such a file, and
folders in ``$MO_INTERP_PATH`` may carry a ``figures/`` of their own.

    figure = draw("verdicts", read_records("runs/quirky_user-0-1a2b3c4d"))
    write(figure, "runs/quirky_user-0-1a2b3c4d/figures", "verdicts")

:func:`export` writes what a paper needs: the figure as wide as a column (3.25 in) or a page
(6.75 in) in letters of 8 points, its caption, and its table as CSV and LaTeX.

Static images (SVG, PDF, PNG) need a Chrome and the package kaleido; without them the HTML and the
plotly JSON are still written, and :class:`~mo_interp.errors.NoBrowser` says what to install.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from mo_interp import finding
from mo_interp.errors import MoInterpError, NoBrowser, SpecError, UnknownName, nearest
from mo_interp.records import Record, atomic_write
from mo_interp.wording import organisms_in

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "FORMATS",
    "SEVERAL",
    "HasRecords",
    "browser",
    "dark_colours",
    "draw",
    "embeddable",
    "export",
    "figure",
    "house",
    "names",
    "plotlyjs",
    "table",
    "write",
    "write_all",
    "write_beside",
]

FORMATS = ("html", "json", "svg", "pdf", "png")
_STATIC = ("svg", "pdf", "png")
_BESIDE = {"txt": ".caption.txt", "csv": ".csv", "tex": ".tex"}
"""What stands beside a figure in print, and how those files end."""
EXPORTS = (*FORMATS, *_BESIDE)
THEMES, WIDTHS = ("screen", "paper"), ("column", "page")
SEVERAL = ("scoreboard", "agreement")
"""Figures over several organisms, which are no part of a run's report."""


class HasRecords(Protocol):
    """Anything that carries records, such as a sweep."""

    @property
    def records(self) -> Iterable[Record] | Callable[[], Iterable[Record]]:
        """Its records, or a method that makes them."""
        ...


# ------------------------------------------------------------------------------------- registry


def _folders() -> list[Path]:
    extra = filter(None, os.environ.get("MO_INTERP_PATH", "").split(os.pathsep))
    return [Path(__file__).parent, *(Path(folder) / "figures" for folder in extra)]


def _files() -> dict[str, Path]:
    """Figure name to file, in the order in which a report shows them, then alphabetical."""
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob("[a-z]*.py")):
            found.setdefault(path.stem, path)
    order = (
        "training",
        "when_it_forms",
        "behaviour",
        "gates",
        "persistence",
        "detectors",
        "which_layer",
        "patch_grid",
        "circuit",
        "localisation",
        "agreement",
        "sae",
        "before_and_after",
        "verdicts",
        "removal",
        "scoreboard",
    )
    known = {name: found[name] for name in order if name in found}
    return known | found


def names() -> list[str]:
    """Names of all figures. Does not import plotly."""
    return list(_files())


def _module(name: str) -> ModuleType:
    """The module of a figure's name or path; raises UnknownName, or SpecError without ``draw``."""
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise UnknownName(f"no file '{name}'; give a figure ({', '.join(names())}) or a file")
    elif name not in _files():
        raise UnknownName(f"figure '{name}'{nearest(name, names())}")
    else:
        path = _files()[name]
    if path.parent == Path(__file__).parent:
        return importlib.import_module(f"{__name__}.{path.stem}")
    module = finding.module(path)
    if not callable(getattr(module, "draw", None)):
        raise SpecError(f"'{path.name}' defines no function `draw(records)`")
    return module


def _chosen(records: Iterable[Record], organism: str | None, seed: int | None) -> list[Record]:
    """The records of one organism and seed; raises UnknownName where there are none of them.

    Without ``organism`` the records must be of one; without ``seed`` all seeds are kept.
    """
    records = list(records)
    here = organisms_in(records)
    if organism is None and len(here) > 1:
        raise MoInterpError(f"records of {len(here)} organisms ({', '.join(here)}); give organism=")
    if organism is not None:
        if organism not in here:
            raise UnknownName(f"no records of organism '{organism}'{nearest(organism, here)}")
        records = [r for r in records if r.organism in (organism, "")]
    if seed is not None:
        seeds = sorted({r.seed for r in records})
        if seed not in seeds:
            raise UnknownName(f"no records of seed {seed}{nearest(str(seed), map(str, seeds))}")
        records = [r for r in records if r.seed == seed]
    return records


def draw(
    name: str,
    records: Iterable[Record] | HasRecords,
    *,
    organism: str | None = None,
    seed: int | None = None,
    part: str | None = None,
    theme: str = "screen",
    width: str = "column",
) -> go.Figure:
    """Draw one figure from records, or from anything that has ``.records``.

    Args:
        name: a figure's name, or the path of a ``.py`` file with a function ``draw(records)``.
        records: the records; those the figure does not need are passed over.
        organism: which organism, where the records are of several.
        seed: draw one seed only; otherwise all of them, told apart.
        part: draw one part of a scoreboard only (``detection``, ``removal`` ...), with all that it
            measures.
        theme: ``screen``, or ``paper``: 8 points throughout, no title, exact widths.
        width: ``column`` or ``page``.

    Raises UnknownName for a figure, theme, width, organism, seed or part that is not there, and
    MoInterpError, naming the kind and the command that makes it, where records are missing.
    """
    from mo_interp.figures import _house

    module, chosen = _module(name), _given(name, records, organism, seed, part)
    with _house.looking(theme, width):
        return _house.fitted(module.draw(chosen))


def _given(
    name: str,
    records: Iterable[Record] | HasRecords,
    organism: str | None,
    seed: int | None,
    part: str | None = None,
) -> list[Record]:
    """The records that a figure is asked to draw."""
    given: Any = getattr(records, "records", records)
    found: Any = given() if callable(given) else given
    if part is not None:
        found = _of_part(list(found), part)
    if name in SEVERAL and organism is None and seed is None:
        return list(found)
    return _chosen(found, organism, seed)


def _of_part(records: Sequence[Record], part: str) -> list[Record]:
    """Without the scores of other parts; raises UnknownName where there are none of this one."""
    parts = list(dict.fromkeys(str(r.get("part")) for r in records if r.kind == "score"))
    if part not in parts:
        raise UnknownName(f"no scores of part '{part}'{nearest(part, parts)}")
    return [r for r in records if r.kind != "score" or r.get("part") == part]


figure = draw  # `mo.figure(...)` reads better in a notebook


def house() -> go.layout.Template:
    """The house style as a template to use on figures of your own; never set as a default."""
    from mo_interp.figures._house import house as template

    return template()


def table(
    name: str,
    records: Iterable[Record] | HasRecords,
    *,
    organism: str | None = None,
    seed: int | None = None,
    part: str | None = None,
) -> list[dict[str, Any]]:
    """The table behind a figure, one dictionary a line, with ``value``, ``lo``, ``hi`` and ``n``.

    Raises what :func:`draw` raises.
    """
    from mo_interp.figures import _table

    module, chosen = _module(name), _given(name, records, organism, seed, part)
    own = getattr(module, "table", None)
    return own(chosen) if own else _table.drawn(module.draw(chosen))


# -------------------------------------------------------------------------------------- writing


def plotlyjs() -> str:
    """The script that draws a figure in a browser; 4.8 MB, no network needed."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def embeddable(figure: go.Figure) -> str:
    """The figure as JSON for a page that prints title and caption itself (``layout.meta``)."""
    from mo_interp.figures._house import bare

    return bare(figure).to_json() or "{}"


def dark_colours() -> dict[str, str]:
    """What each colour of the house becomes on a dark page."""
    from mo_interp.figures._house import DARK

    return dict(DARK)


def write(
    figure: go.Figure, folder: str | Path, name: str, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write one figure in every format; see :func:`write_all`, which is quicker for several."""
    return write_all({name: figure}, folder, formats=formats)


def write_all(
    figures: Mapping[str, go.Figure], folder: str | Path, *, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write figures into ``folder`` as ``NAME.FORMAT``; all images in one batch.

    The HTML files share one ``plotly.min.js`` beside them, so that they open without a network.
    Returns the paths written. HTML and JSON come first: where SVG, PDF or PNG are asked for and no
    Chrome or no kaleido is there, NoBrowser is raised after those are on disk.
    """
    for wanted in formats:
        if wanted not in FORMATS:
            raise UnknownName(f"format '{wanted}'{nearest(wanted, FORMATS)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, fig in figures.items():
        if "html" in formats:
            written.append(_write_html(fig, folder / f"{name}.html", name))
        if "json" in formats:
            written.append(atomic_write(folder / f"{name}.json", fig.to_json() or "{}"))
    static = [kind for kind in formats if kind in _STATIC]
    if static and figures:
        written += _write_images(figures, folder, static)
    return written


def export(
    name: str,
    records: Iterable[Record] | HasRecords,
    folder: str | Path,
    *,
    formats: Sequence[str] = ("pdf",),
    theme: str = "paper",
    width: str = "column",
    organism: str | None = None,
    seed: int | None = None,
    part: str | None = None,
    command: str = "",
) -> list[Path]:
    """Draw a figure and write it with what belongs beside it in print; returns the paths.

    With any of SVG, PDF and PNG come ``NAME.caption.txt`` (n, seeds, intervals, and ``command``,
    which makes it anew), ``NAME.csv`` and ``NAME.tex`` (booktabs). The formats ``txt``, ``csv`` and
    ``tex`` ask for these alone. Where no Chrome or no kaleido is there, everything else is written,
    the HTML in place of the images, and then NoBrowser is raised.
    """
    for wanted in formats:
        if wanted not in EXPORTS:
            raise UnknownName(f"format '{wanted}'{nearest(wanted, EXPORTS)}")
    chosen, stem = _given(name, records, organism, seed, part), Path(name).stem
    told = {"organism": organism, "seed": seed}
    drawn = draw(name, chosen, theme=theme, width=width, **told)
    static = [kind for kind in formats if kind in _STATIC]
    beside = [kind for kind in _BESIDE if static or kind in formats]
    written = write(drawn, folder, stem, [f for f in formats if f in ("html", "json")])
    lines = table(name, chosen, **told) if beside else []
    written += write_beside(drawn, lines, Path(folder) / stem, beside, command)
    try:
        return [*written, *(write(drawn, folder, stem, static) if static else ())]
    except NoBrowser as problem:
        page = write(drawn, folder, stem, ("html",))[0]
        raise NoBrowser(f"{problem}; written instead: {page}") from problem


def write_beside(
    drawn: go.Figure,
    lines: list[dict[str, Any]],
    stem: Path,
    kinds: Sequence[str] = tuple(_BESIDE),
    command: str = "",
) -> list[Path]:
    """Caption and tables of a drawn figure: ``STEM.caption.txt``, ``STEM.csv`` and ``STEM.tex``.

    ``lines`` are those of :func:`table`; ``command`` is what makes the figure anew.
    """
    from mo_interp.figures import _table

    title = (drawn.layout.meta or {}).get("title", stem.name)  # type: ignore[attr-defined]
    make: dict[str, Callable[[], str]] = {
        "txt": lambda: _table.caption(drawn, lines, command=command),
        "csv": lambda: _table.as_csv(lines),
        "tex": lambda: _table.as_tex(lines, title=title, command=command),
    }
    return [atomic_write(stem.with_name(stem.name + _BESIDE[k]), make[k]()) for k in kinds]


def _write_html(fig: go.Figure, path: Path, name: str) -> Path:
    """One page with the figure on it, reading plotly.js from the file beside it."""
    script = path.parent / "plotly.min.js"
    if not script.is_file():
        atomic_write(script, plotlyjs())
    layout: Any = fig.layout
    meta = layout.meta or {}
    body = fig.to_html(
        include_plotlyjs=False, full_html=False, config={"displaylogo": False}, div_id=name
    )
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<script src="plotly.min.js"></script></head>\n'
        f'<body><main aria-label="{_attribute(meta.get("alt", name))}">{body}</main>'
        "</body></html>\n"
    )
    return atomic_write(path, page)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def browser() -> str | None:
    """The Chrome or Chromium that kaleido would use, or None."""
    given = os.environ.get("BROWSER_PATH")
    if given and Path(given).exists():
        return given
    known = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    found = next(filter(None, map(shutil.which, known)), None)
    if found is not None:
        return found
    try:
        from choreographer.browsers.chromium import Chromium
    except ImportError:
        return None
    return Chromium.find_browser(skip_local=False)


def _write_images(
    figures: Mapping[str, go.Figure], folder: Path, formats: Sequence[str]
) -> list[Path]:
    """SVG, PDF and PNG of all figures through one browser; raises NoBrowser saying what to add."""
    what = ", ".join(kind.upper() for kind in formats)
    if importlib.util.find_spec("kaleido") is None:
        raise NoBrowser(f"{what}: needs the package kaleido: pip install 'mo_interp[export]'")
    if browser() is None:
        raise NoBrowser(
            f"{what}: needs a Chrome: install it (Debian, Ubuntu: apt install chromium) "
            "or set BROWSER_PATH; HTML and JSON need none"
        )
    import kaleido

    jobs: list[dict[str, Any]] = []
    for name, fig in figures.items():
        layout: Any = fig.layout
        size = {"width": layout.width or 340, "height": layout.height or 340}
        for kind in formats:
            opts = {"format": kind, "scale": 3 if kind == "png" else 1, **size}
            jobs.append({"fig": fig.to_dict(), "path": folder / f"{name}.{kind}", "opts": opts})
    try:
        # straight to kaleido: plotly.io would have the page ask the network for MathJax
        kaleido.write_fig_from_object_sync(jobs, kopts={"mathjax": False})
    except RuntimeError as err:
        raise NoBrowser(f"{what}: the Chrome at {browser()} could not be started ({err})") from err
    for job in jobs:
        meta = job["fig"]["layout"].get("meta") or {}
        if job["opts"]["format"] == "svg" and meta.get("theme") == "paper":
            _in_inches(job["path"])
    return [job["path"] for job in jobs]


def _in_inches(path: Path) -> None:
    """Say an SVG's size in inches, 96 pixels each, as it is to be printed."""

    def inches(found: re.Match) -> str:
        return f'{found[1]}="{int(found[2]) / 96:g}in"'

    head, rest = path.read_text(encoding="utf-8").split(">", 1)
    head = re.sub(r'\b(width|height)="(\d+)"', inches, head)
    path.write_text(f"{head}>{rest}", encoding="utf-8")
