"""A verb of the command line, run in this process, or a program on a terminal of its own."""

import contextlib
import fcntl
import os
import pty
import struct
import termios
from collections.abc import Sequence

from click.testing import CliRunner, Result

from mo_interp.cli import main


def verb(*words: object, said: str | None = None, status: int = 0) -> Result:
    """Run a verb and check its exit status; what it did not mean to raise is raised."""
    result = CliRunner().invoke(main, [str(w) for w in words], input=said)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def terminal(
    command: Sequence[str], columns: int = 80, *, typed: Sequence[str] = (), status: int = 0
) -> str:
    """What a program writes to a terminal so wide, on which each of ``typed`` answers a ``> ``."""
    child, end = pty.fork()
    if not child:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "30"}
        os.execv(command[0], command)
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    raw, left = b"", list(typed)
    with contextlib.suppress(OSError):  # the terminal's end
        while more := os.read(end, 65536):
            raw += more
            if left and raw.endswith(b"> "):
                os.write(end, left.pop(0).encode())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status, raw.decode()
    return raw.decode()
