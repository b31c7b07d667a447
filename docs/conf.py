"""How the site is built: Sphinx, Markdown pages, docstrings, and pages made of the code.

Nothing is fetched, at build or when it is read. Pages under ``made/`` are written at the start of
every build by :mod:`pages`, from docstrings, specifications, cards and records, and never by hand.
"""

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
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
python_use_unqualified_type_names = True
suppress_warnings = ["misc.highlighting_failure"]
html_theme = "furo"
html_title = "mo_interp"
html_theme_options = {"top_of_page_buttons": []}
html_show_sphinx = False
html_copy_source = False


def _as_it_stands(app, what, name, obj, options, lines):
    """In place: what docutils would complain about becomes a literal block."""
    if what == "module":
        lines[:] = pages.shown("\n".join(lines)).splitlines() + [""]


def setup(app):
    """Write the generated pages before anything is read; a loose docstring is shown as it is."""
    app.connect("autodoc-process-docstring", _as_it_stands, priority=900)
    app.connect("builder-inited", lambda app: pages.write(HERE / "made"))
