"""odsF of saved boundary maps: images in parallel, each one's counts kept."""

import hashlib
import json
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
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
        if self.mode not in boundary.MODES:
            raise unknown("mode of matching", self.mode, boundary.MODES)
        if self.truth_as not in TRUTH_AS:
            raise unknown("kind of truth", self.truth_as, TRUTH_AS)
        if not 0 <= self.max_dist < np.inf:
            raise UserError(f"max_dist is a share of the image's diagonal, such as 0.0075, not {self.max_dist}.")

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
    wrong: list[UserError] = []
    with KeptCounts() as kept, ThreadPoolExecutor(workers) as pool:
        waiting: dict[Future[NDArray[np.int64]], tuple[int, str]] = {}
        done = 0
        for place, pair in enumerate(found):
            key = _key(pair, settings)
            if (known := kept.get(key, table.shape[1:])) is not None:
                table[place] = known
                done += 1
            else:
                waiting[pool.submit(_count, pair, settings)] = place, key
        progress(done, len(found))
        try:
            for future in as_completed(waiting):
                place, key = waiting.pop(future)
                try:
                    table[place] = future.result()
                except UserError as error:
                    wrong.append(error)
                    continue
                kept.put(key, table[place])
                done += 1
                progress(done, len(found))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if wrong:
        kept_ones = f" The other {done} images are scored and kept." if done else ""
        more = f" ({len(wrong)} images are wrong)" if len(wrong) > 1 else ""
        raise UserError(f"{wrong[0]}{more}{kept_ones}")
    return found, table, alone


def _count(pair: Pair, settings: Settings) -> NDArray[np.int64]:
    prediction = read(pair.prediction, GREY)
    truths = np.stack([_truth(path, settings.truth_as) for path in pair.truths])
    ridges = boundary.nms(prediction, settings.nms_radius) if settings.nms_radius else prediction
    counted = boundary.counts(
        ridges,
        truths,
        settings.max_dist,
        mode=settings.mode,
        seed=settings.seed + zlib.crc32(pair.name.encode()),  # the image's own, whatever the order
        strict=settings.strict,
    )
    return np.stack(counted, axis=-1)


def _truth(path: Path, truth_as: TruthAs) -> NDArray[np.bool_]:
    stored = read(path, LABELS)
    if truth_as == "labels":
        return boundary.label_edges(stored)
    values = np.unique(stored)
    if len(values) > 2:
        raise UserError(
            f"the truth {path} holds {len(values)} different values, a boundary map has two: "
            "if it is a label map, say --truth-as labels."
        )
    return stored > 0


def _key(pair: Pair, settings: Settings) -> str:
    digest = hashlib.sha256(json.dumps([_VERSION, pair.name, asdict(settings)], sort_keys=True).encode())
    for path in (pair.prediction, *pair.truths):
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    return digest.hexdigest()
