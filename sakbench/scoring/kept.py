"""Counts of images that were scored before, in one file of the cache."""

import sqlite3
from contextlib import AbstractContextManager
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from sakbench.cache import cache_folder
from sakbench.errors import UserError


class KeptCounts(AbstractContextManager["KeptCounts"]):
    """int64 arrays of one shape by a key that names settings and contents; threads and processes may share the file."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.path = cache_folder() / "boundary-counts.db"
        self.lock = Lock()

    def __enter__(self) -> "KeptCounts":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            self.file.execute("create table if not exists counts (key text primary key, value blob not null)")
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def get(self, key: str) -> NDArray[np.int64] | None:
        """The array of that key, if a whole one is there."""
        try:
            with self.lock:
                row = self.file.execute("select value from counts where key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        if row is None or not isinstance(row[0], bytes) or len(row[0]) != 8 * np.prod(self.shape):
            return None
        return np.frombuffer(row[0], dtype="<i8").reshape(self.shape)

    def put(self, key: str, value: NDArray[np.int64]) -> None:
        """Keep an array."""
        try:
            with self.lock:
                self.file.execute("insert or replace into counts values (?, ?)", (key, value.astype("<i8").tobytes()))
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> UserError:
        return UserError(f"the cache {self.path} cannot be used ({error}): mend or delete it, or set SAKBENCH_CACHE.")
