"""The README as something that runs: its blocks, what they print, and its table of numbers.

``python tests/readme.py`` runs every Python block and writes what it printed, and the numbers of
``benchmarks/results.jsonl``, into the page. The test of it does the same and compares.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reading import ROOT

from mo_interp.records import Record, read_records

PAGE = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results.jsonl"
BLOCK = re.compile(r"```(\w+)\n(.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)
P = re.compile(r"(p\(\w+\)) (\d\.\d+)")
NUMBERS = re.compile(r"(<!-- numbers: .*?-->\n)(.*?)(<!-- end of numbers -->)", re.DOTALL)


class Block(NamedTuple):
    """A fenced block, and the text block right under it, which is what it prints."""

    language: str
    code: str
    output: str | None

    @property
    def file(self) -> str | None:
        """The file that it is, if its first line is a comment with a file's name."""
        named = re.match(r"# ([\w/]+\.py)\n", self.code)
        return named[1] if named else None


def blocks(language: str) -> list[Block]:
    """The blocks of a language, in order."""
    found = BLOCK.finditer(PAGE.read_text(encoding="utf-8"))
    return [Block(m[1], m[2], m["output"]) for m in found if m[1] == language]


def printed(folder: Path) -> Iterator[tuple[Block, str]]:
    """Run the Python blocks in order, in one namespace and in ``folder``; what each printed."""
    names: dict[str, Any] = {"__name__": "readme"}
    with contextlib.chdir(folder):
        for block in blocks("python"):
            told = io.StringIO()
            if block.file:
                (folder / block.file).write_text(block.code, encoding="utf-8")
            else:
                with contextlib.redirect_stdout(told):
                    exec(compile(block.code, str(PAGE), "exec"), names)
            yield block, "\n".join(line.rstrip() for line in told.getvalue().splitlines())


def alike(shown: str, got: str) -> bool:
    """Whether two outputs agree: words and small whole numbers exactly, measurements nearly.

    Byte identity is promised on one type of CPU; on another, an organism that is grown there
    differs in the last digits. Of a p it counts on which side of 0.05 it lies.
    """
    number = re.compile(r"(-?\d+\.\d+|\d+)")
    plain = [P.sub(lambda m: f"{m[1]} {float(m[2]) <= 0.05}", text) for text in (shown, got)]
    parts = [number.split(" ".join(text.split())) for text in plain]
    pairs = list(zip(*parts, strict=False))
    return len(parts[0]) == len(parts[1]) and all(a == b or _near(a, b) for a, b in pairs)


def _near(a: str, b: str) -> bool:
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    if "." in a and "." in b:
        return abs(x - y) <= 0.03
    return min(x, y) >= 100 and abs(x - y) <= 0.1 * max(x, y)


def numbers(records: list[Record]) -> str:
    """The table of numbers, one line for each thing that was measured."""
    by_name = {name: [r for r in records if r.params["name"] == name] for name in MEASURED}
    lines = [(r, MEASURED[name](r)) for name, found in by_name.items() for r in found]
    rows = [f"| {line[0]} | {line[1]} |" for _, line in lines if line]
    sweeps = [r.values["speedup"] for r in records if r.params["name"] == "sweep"]
    if sweeps:
        told = f"{min(sweeps):.1f} to {max(sweeps):.0f} times as fast"
        rows.append(f"| patching sweeps, against `transformer_lens.patching` | {told} |")
    probes = [r.values["speedup"] for r in records if r.params["name"] == "probes"]
    if probes:
        told = f"{min(probes):.0f} to {max(probes):.0f} times as fast"
        rows.append(f"| logistic probes at all sites, against a loop of scikit-learn | {told} |")
    return "\n".join(["| measured, not estimated | |", "|---|---|", *rows, ""])


def _run(r: Record) -> tuple[str, str]:
    told = f"`{r.params['command']}`, empty store, {r.params['cores']} cores"
    return told, f"{r.values['our_seconds']:.0f} s"


def _gates(r: Record) -> tuple[str, str]:
    told = f"training `{r.params['organism']}` to 0.99 of lies and truths, one thread"
    return told, f"{r.values['our_seconds']:.0f} s"


def _import(r: Record) -> tuple[str, str] | None:
    own = "mo" in r.params["command"]
    return (f"`{r.params['command']}`", f"{r.values['our_seconds']:.2f} s") if own else None


def _step(r: Record) -> tuple[str, str] | None:
    told = "a training step, against `HookedTransformer`, AdamW, same batch"
    flagship = r.params["layers"] == 2 and not r.params["truth_first"]
    return (told, f"{r.values['share']:.2f} of its time") if flagship else None


MEASURED = {"run": _run, "step to the gates": _gates, "import": _import, "step": _step}


def filled(page: str, folder: Path) -> str:
    """The page with every output and the numbers as they are now."""
    for block, output in printed(folder):
        if block.output is not None:
            shown = f"{block.code}```\n\n```text\n"
            page = page.replace(f"{shown}{block.output}```", f"{shown}{output}\n```")
    table = numbers(read_records(RESULTS))
    return NUMBERS.sub(lambda m: f"{m[1]}\n{table}\n{m[3]}", page)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as here:
        text = filled(PAGE.read_text(encoding="utf-8"), Path(here))
    PAGE.write_text(text, encoding="utf-8")
