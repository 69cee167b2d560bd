"""Which store a path stands for."""

from pathlib import Path

from sakbench.errors import UserError
from sakbench.store.database import Store, open_sqlite
from sakbench.store.jsonl import read_jsonl

SUFFIXES = (".db", ".sqlite", ".sqlite3")


def open_store(location: str | Path, *, write: bool) -> Store:
    """The store at a path: a SQLite file (`.db`, `.sqlite`, `.sqlite3`) or an export (`.jsonl`, for reading only).

    With `write`, a SQLite file that does not exist is made. Raises `UserError` for a path of another kind, a missing
    file when reading, and a file that is damaged, locked, not a store or of another version.
    """
    path = Path(location)
    if path.suffix == ".jsonl":
        if write:
            raise UserError(f"{path} is an export, for reading only: runs are stored in a file ending in .db.")
        return read_jsonl(path)
    if path.suffix not in SUFFIXES or "://" in str(location):
        # A database URL may hold a password, so what was given is not repeated.
        raise UserError(f"a store is a path ending in {', '.join(SUFFIXES)} or .jsonl, and the given one is not.")
    return open_sqlite(path, write=write)
