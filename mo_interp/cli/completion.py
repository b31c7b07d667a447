"""``mo-interp completion``: the script that completes words in a shell."""

from __future__ import annotations

import click

from mo_interp.cli.display import give
from mo_interp.cli.group import main


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes verbs, options and names in a shell.

    In bash: `eval "$(mo-interp completion bash)"`, and so in zsh; in fish:
    `mo-interp completion fish | source`. Put that line where the shell starts.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    give(made(main, {}, "mo-interp", "_MO_INTERP_COMPLETE").source())
