"""Where the commands print: a console as wide as its reader bears, tables of numbers, or JSON."""

import json
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 160  # a table on a pipe is not cut to a terminal's width


def console(*, stderr: bool = False) -> Console:
    """Where to print: as wide as the terminal, or wide enough for any table on a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _PIPE_WIDTH)


def framed(title: str, caption: str, **look: Any) -> Table:
    """A table of numbers between lines, its title above and what one must know below; `look` as rich's `Table`."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption=caption,
        caption_justify="left",
        caption_style="",
        box=box.HORIZONTALS,
        **look,
    )


def print_json(content: object) -> None:
    """Print JSON to standard output."""
    print(json.dumps(content, indent=2, ensure_ascii=False))
