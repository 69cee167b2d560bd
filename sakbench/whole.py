"""Files and folders that are there whole or not at all: written under another name, synced, renamed (no torch here).

A draft's name tells which process writes it. Only what a process of this machine has certainly left behind is ever
cleared away: in a folder that machines share, nobody can tell whether another's process is alive.
"""

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from sakbench.holder import Holder, this_process

_DRAFT = re.compile(r"\..+\.draft-([0-9a-f]{8})-([0-9]+)-([0-9]+)-[0-9]+")
_numbers = count()


def draft_of(target: Path) -> Path:
    """Where this process can write what is to become `target`, beside it; each time another place."""
    me = this_process()
    return target.with_name(f".{target.name}.draft-{_short(me.machine)}-{me.process}-{me.born}-{next(_numbers)}")


def left_behind(folder: Path) -> list[Path]:
    """The drafts in a folder whose processes, of this machine, have ended."""
    return sorted(path for path in folder.glob(".*.draft-*") if _is_left(path))


def clear(folder: Path) -> None:
    """Remove what is `left_behind` in a folder."""
    for path in left_behind(folder):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file of text, in UTF-8: see `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file and have it on the disk. Raises `OSError`; what was there before then stays.

    A device or a pipe (/dev/null, /dev/stdout) is written to, not replaced.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        path.write_bytes(content)
        return
    draft = draft_of(path)
    try:
        draft.write_bytes(content)
        sync(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)


def settle(draft: Path, target: Path) -> None:
    """Give a folder its name when all of it is on the disk; what had the name before is removed. Raises `OSError`."""
    for file in draft.iterdir():
        sync(file)
    sync(draft)
    discard(target)
    draft.rename(target)
    sync(target.parent)


def discard(folder: Path) -> None:
    """Remove a folder, if it is there, under another name: a part of it must not have its own. Raises `OSError`."""
    aside = draft_of(folder.with_name(f"{folder.name}.old"))
    with suppress(FileNotFoundError):  # another process was faster
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def sync(path: Path) -> None:
    """Have the operating system write a file's (or a folder's) content to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(content: dict[str, Any]) -> str:
    """JSON of `content` that tells whether it is still what it was."""
    return json.dumps({**content, "seal": _seal(content)})


def unsealed(text: str) -> dict[str, Any]:
    """What was `sealed`. Raises `ValueError` if it has changed."""
    content = json.loads(text)
    if not isinstance(content, dict) or content.pop("seal", None) != _seal(content):
        raise ValueError("it does not agree with its checksum")
    return content


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _is_left(path: Path) -> bool:
    found, machine = _DRAFT.fullmatch(path.name), this_process().machine
    if found is None or found[1] != _short(machine):
        return False
    return Holder(machine, int(found[2]), found[3], "").is_gone()


def _short(machine: str) -> str:
    return hashlib.sha256(machine.encode()).hexdigest()[:8]
