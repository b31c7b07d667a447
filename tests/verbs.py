"""A verb of the command line, run in this process."""

from click.testing import CliRunner, Result

from mo_interp.cli import main


def verb(*words: object, said: str | None = None, status: int = 0) -> Result:
    """Run a verb and check its exit status; what it did not mean to raise is raised."""
    result = CliRunner().invoke(main, [str(w) for w in words], input=said)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result
