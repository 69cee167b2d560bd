"""Which features of frozen backbones some runs still lack, and what these will take of the disk (no torch here)."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sakbench import backbones, data
from sakbench.errors import UserError
from sakbench.runs.jobs import Bank, banks_of
from sakbench.runs.spec import RunSpec
from sakbench.training import kept

Weights = Mapping[str, Path]  # local files by backbone


def identity(bank: Bank, weights: Weights) -> str:
    """All that its features depend on beside the images: the backbone, its weights, how it sees them."""
    digest = backbones.weights_digest(bank.backbone, weights.get(bank.backbone))
    return f"{bank.backbone} {digest} {bank.norm} {bank.sam_padding}" + " class token" * bank.class_token


def image_size(bank: Bank) -> int:
    """The pixels of a side of the square images that the backbone is given."""
    return bank.size[0] if bank.size else backbones.info(bank.backbone).image_size


def size_in_bytes(bank: Bank) -> int:
    """What its four levels take of the disk, without the headers of the files."""
    entry = backbones.info(bank.backbone)
    seen = entry.image_size if entry.own_input else image_size(bank)
    sides = [seen // stride for stride in entry.strides]
    tokens = 2 if bank.class_token and entry.prefix_tokens else 1
    return kept.size_in_bytes(bank.count, zip(sides, sides, [tokens * dim for dim in entry.dims], strict=True))


def missing(runs: Iterable[RunSpec], weights: Weights) -> list[Bank]:
    """The features that some runs read and that are not on the disk, each once.

    Those of scenes that are not rendered yet are taken to be missing. What is on the disk is read whole, and missing if
    it does not agree with its manifest; nothing is changed.
    """
    read = dict.fromkeys(bank for run in runs for bank in banks_of(run))
    return [bank for bank in read if not _is_kept(bank, weights)]


def require_room(banks: Sequence[Bank]) -> None:
    """Raise `UserError` if the disk of the cache has less free than these features take."""
    if not banks:
        return
    needed, place = sum(map(size_in_bytes, banks)), kept.place()
    try:
        existing = next(folder for folder in (place, *place.parents) if folder.exists())
        free = shutil.disk_usage(existing).free
    except OSError as error:
        raise UserError(
            f"the cache {place} cannot be reached ({error.strerror}): name another folder in SAKBENCH_CACHE."
        ) from error
    if free < needed:
        raise UserError(
            f"the features that these runs read take {megabytes(needed)}, and the disk of {place} has"
            f" {megabytes(free)} free: make room there, or name a folder of another disk in SAKBENCH_CACHE."
        )


def megabytes(count: int) -> str:
    """A number of bytes as a person reads it: "1,042.0 MB"."""
    return f"{count / 1e6:,.1f} MB"


def _is_kept(bank: Bank, weights: Weights) -> bool:
    images = data.cached_checksum(bank.dataset, bank.split, bank.count)
    if images is None:
        return False
    folder = kept.folder(identity(bank, weights), images, image_size(bank), flipped=bank.flipped)
    return kept.trouble(folder, summed=True) is None
