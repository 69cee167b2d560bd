"""What `--store` names: a SQLite file, an export of one, or a PostgreSQL database."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from sakbench.errors import UserError

DEFAULT = "results/sakbench.db"
SUFFIXES = (".db", ".sqlite", ".sqlite3")
EXPORT = ".jsonl"
_SCHEMES = ("postgresql", "postgresql+psycopg")
_ALLOWED = f"a path that ends in {', '.join(SUFFIXES)} or {EXPORT}, or postgresql+psycopg://USER@HOST/DATABASE"


@dataclass(frozen=True)
class Location:
    """A place that was named. `str()` of it may be printed: it holds no password."""

    kind: Literal["sqlite", "export", "postgresql"]
    shown: str
    path: Path = Path()  # of a file
    url: str = field(default="", repr=False)  # of a database, as SQLAlchemy takes it

    def __str__(self) -> str:
        return self.shown

    @property
    def has_password(self) -> bool:
        """Whether a password stands in the URL."""
        return hide_passwords(self.url) != self.url

    @property
    def runs(self) -> Path:
        """Where the runs' weights lie unless another folder is named: beside the file."""
        return Path("results/runs") if self.kind == "postgresql" else self.path.parent / "runs"


def locate(text: str | Path) -> Location:
    """The place of that name. Raises `UserError`, without a password that may stand in it, for what can be none."""
    if "://" in str(text):
        return _database(str(text))
    path = Path(text)
    try:
        path.exists()
    except (OSError, ValueError) as error:  # too long a name, say
        raise UserError(f"{str(text)[:40]!r} cannot be a store ({error}): give {_ALLOWED}.") from error
    if path.suffix == EXPORT:
        return Location("export", str(path), path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{str(text)!r} cannot be a store: give {_ALLOWED}.")
    return Location("sqlite", str(path), path)


def without_passwords(arguments: Sequence[str]) -> str:
    """A command line as it may be printed and kept: without what can be a password in a URL."""
    return shlex.join(hide_passwords(argument) for argument in arguments)


def hide_passwords(text: str) -> str:
    """A text in which `***` stands for whatever can be a password in a URL."""
    hidden = re.sub(r"(://[^:/?#@]*):.*@", r"\1:***@", text, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&\s]*password=)[^&\s'\"]*", r"\1***", hidden)


def _database(text: str) -> Location:
    wrong = UserError(f"the URL cannot be that of a store (is a password percent-encoded?): give {_ALLOWED}.")
    try:
        url = urlsplit(text)
        host, port, user, password = url.hostname, url.port, url.username, url.password
    except ValueError as error:
        raise wrong from error
    if url.scheme not in _SCHEMES:
        raise UserError(f"a URL of {url.scheme} cannot be a store: give {_ALLOWED}.")
    # An unquoted / ? # @ in a password would leave the rest of it where the host or the path is.
    quoted = "/" not in url.path[1:] and not url.fragment and text.partition("?")[0].count("@") == (user is not None)
    if not host or len(url.path) < 2 or not quoted:
        raise wrong
    hidden = ":***" if password or "password" in dict(parse_qsl(url.query)) else ""
    name = f"{user or ''}{hidden}@" if user or hidden else ""
    shown = f"{url.scheme}://{name}{host}{f':{port}' if port else ''}{url.path}"
    return Location("postgresql", shown, url=text.replace(f"{url.scheme}://", "postgresql+psycopg://", 1))
