"""The examples of these pages, as something that runs.

``python docs/examples.py [PAGE ...]`` runs the Python blocks of every page (or of those named) and
writes what each printed into the ``text`` block under it. The tests do the same and compare.

* The blocks of a page share one namespace and a fresh folder. It holds links to ``organisms`` and
  ``probes`` of the checkout, so that a page can read the records that are kept there.
* A block whose first line is a comment with a file's name is a file: it is written there, not run.
* ``<!-- slow -->`` above a block says that it needs trained weights or some seconds. It is run with
  the slow tests, after all blocks before it; a quick block never needs a slow one.
* A ``text`` block under a block is what it prints. A block without one prints nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
LINKED = ("organisms", "probes", "CITATION.cff")
FENCE = re.compile(
    r"^(?P<slow><!-- slow -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
FILE = re.compile(r"# ([\w/]+\.\w+)\n")


class Block(NamedTuple):
    """A fenced block, and what it is said to print."""

    language: str
    code: str
    output: str | None
    slow: bool

    @property
    def file(self) -> str | None:
        """The file that it is, if its first line names one."""
        named = FILE.match(self.code)
        return named[1] if named and self.language == "python" else None


def written() -> list[Path]:
    """The pages that are written by hand."""
    return sorted(p for p in DOCS.rglob("*.md") if "made" not in p.relative_to(DOCS).parts)


def blocks(text: str, language: str | None = None) -> list[Block]:
    """The blocks of a page, in order; of one language if that is given."""
    found = [
        Block(m["language"], m["code"], m["output"], bool(m["slow"])) for m in FENCE.finditer(text)
    ]
    return [b for b in found if language in (None, b.language)]


@contextlib.contextmanager
def apart(folder: Path) -> Iterator[None]:
    """In a folder with links to the checkout's records; the environment is put back afterwards."""
    for name in LINKED:
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    with contextlib.chdir(folder), mock.patch.dict(os.environ):
        yield


def ran(text: str, folder: Path, *, slow: bool) -> Iterator[tuple[Block, str]]:
    """Run a page's Python blocks in order; every block with what it printed.

    Without ``slow`` the slow ones are left out.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    with apart(folder):
        for block in blocks(text, "python"):
            if block.slow and not slow:
                continue
            yield block, _run(block, folder, names)


def _run(block: Block, folder: Path, names: dict[str, Any]) -> str:
    if block.file:
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code, encoding="utf-8")
        return ""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(compile(block.code, "page", "exec"), names)
    return "\n".join(line.rstrip() for line in told.getvalue().splitlines())


def filled(text: str, folder: Path) -> str:
    """The page with every output as it is now."""
    for block, output in ran(text, folder, slow=True):
        if block.file:
            continue
        old = "" if block.output is None else f"\n```text\n{block.output}```\n"
        new = f"\n```text\n{output}\n```\n" if output else ""
        text = text.replace(f"{block.code}```\n{old}", f"{block.code}```\n{new}")
    return text


def main(arguments: list[str]) -> None:
    """Fill the pages named, or all of them."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for page in [Path(a).resolve() for a in arguments] or written():
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as here:
            new = filled(text, Path(here))
        if new != text:
            page.write_text(new, encoding="utf-8")
            sys.stderr.write(f"{page.relative_to(DOCS)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
