"""`sakbench report`: a store as one HTML file that needs nothing else, and no network."""

from pathlib import Path

from rich.markup import escape

from sakbench import whole
from sakbench.errors import UserError
from sakbench.report.output import console
from sakbench.store import open_store

SUFFIX = ".html"


def report(location: str | Path, output: Path) -> None:
    """Write everything that a store holds as a page, and say where it is.

    Raises `UserError` for a store without tables and for a file that does not end in .html (it might be a store), or
    that cannot be written.
    """
    if output.suffix != SUFFIX:
        raise UserError(f"{output} cannot be the report: name a file that ends in {SUFFIX}.")
    store = open_store(location, write=False)
    from sakbench.report.page.page import build

    with console(stderr=True).status("making the page"):
        text = build(store)
    try:
        whole.write_text(output, text)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}.") from error
    size = len(text.encode()) / 1e6
    said = f"{escape(str(output))}: {size:.1f} MB, to be opened in any browser; it loads nothing from elsewhere"
    console().print(said, highlight=False, soft_wrap=True)
