"""odsF of saved boundary maps: images in parallel, each one's counts kept."""

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sakbench.errors import UserError, unknown
from sakbench.metrics import boundary
from sakbench.scoring.files import GREY, LABELS, Pair, pairs, read, require_sizes
from sakbench.scoring.kept import KeptCounts

TruthAs = Literal["boundaries", "labels"]
TRUTH_AS: tuple[str, ...] = get_args(TruthAs)
_VERSION = 1  # of the counting: other counts of the same image are another version


@dataclass(frozen=True)
class Settings:
    """How saved maps are counted.

    `truth_as` tells what the truth's files hold: `boundaries` (what is not 0 is a boundary), or `labels`, a label map
    whose edges are the boundaries, as SEISM makes them for PASCAL-Context; SEISM passes NYUD-v2's boundary maps through
    the same, which doubles their lines.
    """

    max_dist: float = 0.0075
    mode: boundary.Mode = "exact"
    nms_radius: int = 4
    strict: bool = False
    truth_as: TruthAs = "boundaries"
    seed: int = 0

    def __post_init__(self) -> None:
        boundary.check_settings(self.max_dist, self.mode, self.seed)
        if self.truth_as not in TRUTH_AS:
            raise unknown("kind of truth", self.truth_as, TRUTH_AS)

    def __str__(self) -> str:
        words = boundary.describe(self.max_dist, self.mode, self.nms_radius, strict=self.strict)
        seeded = f" (seed {self.seed})" if self.mode == "seism" else ""
        return f"odsF, {words}{seeded}, truth read as {self.truth_as}"


def score(
    predictions: Path,
    truth: Path,
    settings: Settings,
    *,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> tuple[list[Pair], NDArray[np.int64], int]:
    """The images, their counts (images, 99, 4) in the same order, and how many predictions have no truth.

    Counts of images that were scored before, with the same settings and contents, are read from the cache. Raises
    UserError for whatever is wrong with the files; what was scored until then is kept.
    """
    found, alone = pairs(predictions, truth)
    for pair in found:
        require_sizes(pair)
    table = np.zeros((len(found), len(boundary.THRESHOLDS), 4), dtype=np.int64)
    wrong: dict[int, UserError] = {}
    progress(0, len(found))
    with KeptCounts(table.shape[1:]) as kept, ThreadPoolExecutor(workers) as pool:
        places = {pool.submit(_known_or_counted, pair, settings, kept): i for i, pair in enumerate(found)}
        try:
            for done, future in enumerate(as_completed(places), start=1):
                try:
                    table[places[future]] = future.result()
                except UserError as error:
                    wrong[places[future]] = error
                progress(done, len(found))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)  # what is being counted is kept
            raise
    if wrong:
        several = f" ({len(wrong)} images are wrong)" if len(wrong) > 1 else ""
        right = len(found) - len(wrong)
        kept_ones = f" The other {right} images are scored and kept." if right else ""
        raise UserError(f"{wrong[min(wrong)]}{several}{kept_ones}")
    return found, table, alone


def _known_or_counted(pair: Pair, settings: Settings, kept: KeptCounts) -> NDArray[np.int64]:
    key = _key(pair, settings)
    counts = kept.get(key)
    if counts is None:
        counts = _count(pair, settings)
        kept.put(key, counts)
    return counts


def _count(pair: Pair, settings: Settings) -> NDArray[np.int64]:
    prediction = read(pair.prediction, GREY)
    truths = np.stack([_truth(path, settings.truth_as) for path in pair.truths])
    ridges = boundary.nms(prediction, settings.nms_radius) if settings.nms_radius else prediction
    counted = boundary.counts(
        ridges,
        truths,
        settings.max_dist,
        mode=settings.mode,
        seed=settings.seed + _own_seed(pair),
        strict=settings.strict,
    )
    return np.stack(counted, axis=-1)


def _truth(path: Path, truth_as: TruthAs) -> NDArray[np.bool_]:
    stored = read(path, LABELS)
    if truth_as == "labels":
        return boundary.label_edges(stored)
    values = np.unique(stored).tolist()
    if not {0, 1}.issuperset(values) and not {0, 255}.issuperset(values):
        some = ", ".join(map(str, values[:4])) + (", ..." if len(values) > 4 else "")
        raise UserError(
            f"the truth {path} holds the values {some}; a boundary map holds 0 and 255, or 0 and 1: "
            "if it is a label map, say --truth-as labels."
        )
    return stored > 0


def _own_seed(pair: Pair) -> int:
    """A number of the image's own, whatever the order of the images."""
    return zlib.crc32(os.fsencode(pair.name))


def _key(pair: Pair, settings: Settings) -> str:
    matters = asdict(settings)
    seed = matters.pop("seed") + _own_seed(pair)
    if settings.mode == "exact":
        seed = 0  # which draws nothing
    digest = hashlib.sha256(json.dumps([_VERSION, seed, matters], sort_keys=True).encode())
    for path in (pair.prediction, *pair.truths):
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    return digest.hexdigest()
