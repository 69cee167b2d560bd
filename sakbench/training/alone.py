"""Work that one process does at a time, while the others wait for it."""

import errno
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sakbench.errors import UserError
from sakbench.training.loop import Interrupted

_POLL_SECONDS = 0.2
_TELL_SECONDS = 10.0
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def alone(lock: Path, stop: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock of a file, which is made if need be and stays; it ends with the process, however that ends.

    Raises `Interrupted` when `stop()` became true while another process held it, and `UserError` if the file cannot be
    written. Where the file system knows no locks it is not held.
    """
    file = FileLock(lock, fallback_to_soft=False)  # a file alone would outlive a machine that dies
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        _acquire(file, stop)
    except OSError as error:
        raise UserError(
            f"{lock.parent} cannot be written to ({error.strerror}): make room there, mend its permissions, or choose"
            " another place."
        ) from error
    try:
        yield
    finally:
        file.release()


def _acquire(lock: FileLock, stop: Callable[[], bool]) -> None:
    began, told = time.monotonic(), False
    while True:
        try:
            lock.acquire(timeout=_POLL_SECONDS)
            return
        except Timeout:
            if stop():
                raise Interrupted from None
            if not told and time.monotonic() - began > _TELL_SECONDS:
                print(f"waiting for another process that holds {lock.lock_file}", file=sys.stderr, flush=True)
                told = True
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            # Without locks a run is still guarded by its claim in the store, and two who compute the same features
            # write them under different names.
            return
