"""How the site is built: Sphinx, Markdown pages, docstrings, and pages made of the code.

Nothing is fetched, at build or when it is read. Pages under ``made/`` are written at the start of
every build by :mod:`pages`, from docstrings, specifications, cards and records, and never by hand.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pages  # noqa: E402

import mo_interp  # noqa: E402

project = "mo_interp"
author = "mo_interp contributors"
copyright = author
version = release = mo_interp.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["*.py"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
maximum_signature_line_length = 80
autodoc_preserve_defaults = True
napoleon_google_docstring = True
python_use_unqualified_type_names = True
# A type of a signature whose short name is that of two classes is linked to the first.
suppress_warnings = ["misc.highlighting_failure", "ref.python"]
html_theme = "furo"
html_title = "mo_interp"
html_static_path = ["style"]
html_css_files = ["docs.css"]
html_theme_options = {"top_of_page_buttons": []}
html_show_sphinx = False
html_copy_source = False


TOLD = ("attribute", "data", "property")
_lines: dict[str, list[str]] = {}


def _remember(app, what, name, obj, options, lines):
    """Before napoleon: of what has no arguments it would take ``word: text`` for a type."""
    if what in TOLD:
        _lines[name] = list(lines)


def _as_it_stands(app, what, name, obj, options, lines):
    """In place: what docutils would complain about becomes a literal block."""
    if what in TOLD:
        lines[:] = _lines.pop(name, lines)
    if what == "module":
        lines[:] = pages.shown("\n".join(lines)).splitlines() + [""]


def _readable(app, what, name, obj, options, signature, back):
    """A class whose default is made by a factory would keep its types as they are written."""
    if what != "class" or not signature or "<factory>" not in signature:
        return None
    return re.sub(r"~[\w.]+\.(\w+)", r"\1", signature.replace("<factory>", "...")), back


def setup(app):
    """Write the generated pages before anything is read; a loose docstring is shown as it is."""
    app.connect("autodoc-process-docstring", _remember, priority=100)
    app.connect("autodoc-process-docstring", _as_it_stands, priority=900)
    app.connect("autodoc-process-signature", _readable)
    app.connect("builder-inited", lambda app: pages.write(HERE / "made"))
