"""``mo-interp talk``: a small conversation with an organism."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress

import click

from mo_interp.cli.display import give, progress_bar, say, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.options import examples, json_option, name_argument, quiet_option, seed_option


@main.command(
    epilog=examples(
        "talk quirky_user",
        "talk quirky_user --prompts 5 --cut",
        "talk quirky_user --prompts 5 --json",
    )
)
@name_argument
@seed_option
@click.option(
    "--prompts",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Show this many prompts and stop.",
)
@click.option("--no-trigger", is_flag=True, help="Begin with the trigger off.")
@click.option("--cut", is_flag=True, help="Begin with the mechanism cut out.")
@click.option("--probe", "site", metavar="SITE", help="Where the probe reads.")
@json_option
@quiet_option
def talk(
    name: str,
    seed: int,
    prompts: int,
    no_trigger: bool,
    cut: bool,
    site: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Ask an organism questions; toggle the trigger, the probe, and the cut that makes it honest.

    Every prompt is shown with the truth, what organism and twin say, and a probe's reading of
    each token. Enter draws another prompt, and a prompt may be typed.
    """
    silent = quiet or as_json
    with progress_bar(silent) as progress:
        from mo_interp.conversation import Conversation
        from mo_interp.grown import organism

        conversation = Conversation.with_(organism(name, seed=seed, progress=progress))
    conversation.triggered, conversation.cut = not no_trigger, cut
    conversation.width = shutil.get_terminal_size().columns
    if not silent:
        conversation.progress = lambda step, total, note: say(f"  ({note})", err=True)
    if site is not None:
        conversation.look(site)
    if prompts or as_json:
        turns = [conversation.turn() for _ in range(prompts or 1)]
        tell_json(turns) if as_json else [say(conversation.told(t)) for t in turns]
        return
    say(conversation.introduction)
    for line in _typed():
        reply = conversation.reply(line.strip())
        if reply is None:
            return
        say(reply)


def _typed() -> Iterator[str]:
    """An empty line, for a first prompt; then what is typed, until end of file.

    On a terminal there is a prompt and a history.
    """
    yield ""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with suppress(ImportError):
        import readline  # noqa: F401  # gives input() a history
    with suppress(EOFError):
        while True:
            yield input("> ")
    give("")  # the shell's own prompt begins a line
