"""Is a copy of a data set whole? Every listed file is read once and compared with what it should be.

Of ImageNet-1k, whose 1.33 million images would take hours, a sample is decoded, evenly spread over the class folders;
how many there are is counted exactly. Copies that broke off lack folders or files, which the counts show.
"""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sakbench.data import catalogue
from sakbench.data.archives.files import MissingFile
from sakbench.data.archives.imagenet import ImageNet
from sakbench.data.archives.locate import ARCHIVES, candidates
from sakbench.data.archives.nyud import Nyud
from sakbench.data.archives.pascal_context import PascalContext
from sakbench.data.archives.split import Archive, listed
from sakbench.data.catalogue import DataSet, Size
from sakbench.errors import UserError

Progress = Callable[[int, int], None]  # images done, of how many

_SAMPLE = 2000  # of ImageNet's images per split
_CHUNK = 16
_EXAMPLES = 3  # of each kind of trouble


@dataclass
class Kind:
    """What was found of the images or of one task's labels: how many are right, and the names of the others."""

    right: int = 0
    missing: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)  # what is wrong, by name


@dataclass
class SplitReport:
    """A split: how many images its list names, how many the paper has, what was found of each kind of file."""

    split: str
    listed: int
    expected: int
    checked: int = 0
    kinds: dict[str, Kind] = field(default_factory=dict)


@dataclass
class Report:
    """A data set in a folder. `problems` stop a run or falsify it; `notes` only tell how the copy differs."""

    dataset: str
    folder: str
    layout: list[str] = field(default_factory=list)  # which patterns hold how many files
    sizes: dict[str, int] = field(default_factory=dict)  # images by "height x width", the most frequent first
    splits: list[SplitReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether a run can use it."""
        return not self.problems


def check(root: Path, *, workers: int = 1, progress: Progress = lambda done, count: None) -> list[Report]:
    """Reports on all data sets in `root` or in folders of it, none if there are none.

    `progress` is called per data set while its files are read, by `workers` processes. Raises UserError if `root` is no
    folder.
    """
    return [
        _check(catalogue.get(dataset), folder, workers, progress)
        for dataset in ARCHIVES
        for folder in candidates(dataset, root)
    ]


def _check(about: DataSet, folder: Path, workers: int, progress: Progress) -> Report:
    report = Report(about.name, str(folder))
    archive = ARCHIVES[about.name](folder)
    work: list[tuple[SplitReport, list[str]]] = []
    for split in catalogue.SPLITS:
        try:
            names = listed(archive, split)
        except UserError as error:
            report.problems.append(str(error))
            continue
        found = SplitReport(split, len(names), about.images[split])
        report.splits.append(found)
        _compare_count(report, about, found)
        _find_repeated(report, split, names if not isinstance(archive, ImageNet) else ())
        step = max(1, len(names) // _SAMPLE) if isinstance(archive, ImageNet) else 1
        work.append((found, [names[row] for row in range(0, len(names), step)]))
    if isinstance(archive, PascalContext | Nyud):
        report.layout = [
            f"{pattern} ({len(names)})"
            for shelf in archive.shelves.values()
            for pattern, names in shelf.present().items()
            if names
        ]
    sizes = _read_all(archive, about, work, workers, progress)
    report.sizes = {f"{height} x {width}": count for (height, width), count in sizes.most_common()}
    for found, _ in work:
        _tell(report, about, found)
    _compare_sizes(report, about, sizes)
    return report


def _read_all(
    archive: Archive,
    about: DataSet,
    work: list[tuple[SplitReport, list[str]]],
    workers: int,
    progress: Progress,
) -> Counter[Size]:
    """Read every file of the work into its reports; the sizes of the images."""
    count, done, sizes = sum(len(names) for _, names in work), 0, Counter[Size]()
    for found, names in work:
        found.kinds = {kind: Kind() for kind in ("image", *about.tasks)}
        for inspected in _inspect_all(archive, about.tasks, names, workers):
            found.checked += 1
            done += 1
            sizes.update([inspected.size] if inspected.size else [])
            for kind, trouble in inspected.troubles.items():
                if trouble is None:
                    found.kinds[kind].right += 1
                elif trouble == "":
                    found.kinds[kind].missing.append(inspected.name)
                else:
                    found.kinds[kind].broken[inspected.name] = trouble
            progress(done, count)
    return sizes


@dataclass(frozen=True)
class _Inspected:
    name: str
    size: Size | None
    troubles: dict[str, str | None]  # by kind: None if right, "" if missing, else what is wrong


def _inspect_all(archive: Archive, tasks: tuple[str, ...], names: list[str], workers: int) -> Iterable[_Inspected]:
    inspect = partial(_inspect, archive, tasks)
    workers = min(workers, len(names) // _CHUNK)
    if workers <= 1:
        return map(inspect, names)
    return _inspect_apart(inspect, names, workers)


def _inspect_apart(inspect: Callable[[str], _Inspected], names: list[str], workers: int) -> Iterator[_Inspected]:
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(inspect, names, chunksize=_CHUNK)
        except BrokenProcessPool as error:
            raise UserError(
                "a process that read images ended before its time, perhaps for want of memory: check again."
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _inspect(archive: Archive, tasks: tuple[str, ...], name: str) -> _Inspected:
    """Read an image and its labels."""
    troubles: dict[str, str | None] = {}

    def attempt(kind: str, read: Callable[[], object]) -> None:
        try:
            read()
            troubles[kind] = None
        except MissingFile:
            troubles[kind] = ""
        except UserError as error:
            troubles[kind] = str(error)

    try:
        height, width, _ = archive.image(name).shape
    except UserError as error:
        missing = isinstance(error, MissingFile)
        return _Inspected(name, None, {"image": "" if missing else str(error)})
    troubles["image"] = None
    for task in tasks:
        if task == "boundary":  # its source tells all, and need not be thinned
            attempt(task, lambda: archive.boundary_source(name, (height, width)))
        else:
            attempt(task, partial(archive.target, name, task, (height, width)))
    return _Inspected(name, (height, width), troubles)


def _compare_count(report: Report, about: DataSet, found: SplitReport) -> None:
    if found.listed == found.expected:
        return
    difference = f"{found.split} has {found.listed:,} images, the paper's {found.expected:,}"
    if about.name == "imagenet-1k":
        report.problems.append(f"{difference}: {catalogue.how_to_get(about)}.")
    else:
        report.notes.append(f"{difference}: numbers are not exactly comparable with published ones.")


def _find_repeated(report: Report, split: str, names: Iterable[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        report.problems.append(f"the list of {split} names {_some(repeated)} more than once.")


def _tell(report: Report, about: DataSet, found: SplitReport) -> None:
    """The troubles of a split in words."""
    for kind, state in found.kinds.items():
        what = "images" if kind == "image" else f"labels of {kind}"
        if state.missing and not state.right and not state.broken:
            report.problems.append(f"{found.split} has no {what} at all: {catalogue.how_to_get(about)}.")
        elif state.missing:
            number = f"{len(state.missing)} of {found.checked}"
            report.problems.append(f"{found.split} lacks {number} {what}: {_some(state.missing)}.")
        for trouble in list(state.broken.values())[:_EXAMPLES]:
            report.problems.append(trouble)
        if len(state.broken) > _EXAMPLES:
            more = len(state.broken) - _EXAMPLES
            report.problems.append(f"{more} more {what} of {found.split} are wrong like these.")


def _compare_sizes(report: Report, about: DataSet, sizes: Counter[Size]) -> None:
    """Sizes that evaluation cannot pad to the network's, and sizes that the paper's copy does not have."""
    if about.name == "imagenet-1k":
        return
    most = about.tested_size
    network = f"{most[0]} x {most[1]}"
    large = sum(count for (high, wide), count in sizes.items() if high > most[0] or wide > most[1])
    if large:
        first = next(size for size in sizes if size[0] > most[0] or size[1] > most[1])
        report.problems.append(
            f"{large} images are larger than the network's {network}, such as {first[0]} x {first[1]}, and cannot be"
            f" evaluated, which pads and never resizes: {catalogue.how_to_get(about)}."
        )
    other = sum(sizes.values()) - large - sum(sizes[size] for size in about.image_sizes)
    if about.image_sizes and other:
        expected = " or ".join(f"{height} x {width}" for height, width in about.image_sizes)
        report.notes.append(f"{other} images have another size than the paper's copy, whose images are {expected}.")


def _some(names: list[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", ..." if len(names) > _EXAMPLES else "")
