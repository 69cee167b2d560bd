"""Where the commands print: a console as wide as its reader bears, or JSON."""

import json
import sys

from rich.console import Console

_PIPE_WIDTH = 160  # a table on a pipe is not cut to a terminal's width


def console(*, stderr: bool = False) -> Console:
    """Where to print: as wide as the terminal, or wide enough for any table on a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPE_WIDTH)


def print_json(content: object) -> None:
    """Print JSON to standard output."""
    print(json.dumps(content, indent=2, ensure_ascii=False))
