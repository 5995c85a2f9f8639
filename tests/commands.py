"""The command line, called in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from spikegraph.cli import main


def call(*arguments: object) -> Result:
    """Call a command; an error that it does not handle ends the test."""
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def refused(*arguments: object) -> str:
    """Call with bad input: exit code 2, one message on stderr, nothing on stdout."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr
