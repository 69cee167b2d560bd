"""Where a data set lies below the folder that the user named."""

from pathlib import Path
from typing import Any

from sakbench import plugins
from sakbench.data import catalogue
from sakbench.data.archives.imagenet import CLASS_FOLDER, ImageNet
from sakbench.data.archives.nyu_depth import NyuDepth
from sakbench.data.archives.nyud import Nyud
from sakbench.data.archives.pascal_context import PascalContext
from sakbench.errors import UserError

ARCHIVES: dict[str, Any] = {  # by name, the class that reads a data set in a folder
    "pascal-context": PascalContext,
    "nyud-v2": Nyud,
    "nyu-depth": NyuDepth,
    "imagenet-1k": ImageNet,
}


def register(about: catalogue.DataSet, archive: Any) -> None:
    """Add a data set of one's own, and the class that reads it: see `sakbench.data.archives.split.Archive`.

    The class has `marks`, names of files or folders by which a copy is known, and takes the folder. Raises UserError
    for a name of the package's own.
    """
    plugins.claim("data set", about.name, {"miniworld-pascal", "miniworld-nyud", *catalogue.CATALOGUE})
    catalogue.CATALOGUE[about.name] = about
    ARCHIVES[about.name] = archive


def candidates(dataset: str, root: Path) -> list[Path]:
    """The folders that hold a data set, whole or not: `root` itself, else folders in it.

    Raises UserError for a root that is no folder.
    """
    about = catalogue.get(dataset)
    if _holds(dataset, root):
        return [root]
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError as error:
        raise UserError(
            f"the data folder {root} cannot be listed ({error.strerror}): name the folder that holds the data sets."
        ) from error
    return [path for path in folders if path.name in about.folders or _holds(dataset, path)]


def find(dataset: str, root: Path) -> Path:
    """The folder of a data set: `root` itself or one folder below it.

    Raises UserError if there is none, or if there are several, and says what was looked for and where to get it.
    """
    about = catalogue.get(dataset)
    found = candidates(dataset, root)
    if not found:
        marks = " and ".join(mark if "." in mark else f"{mark}/" for mark in ARCHIVES[dataset].marks)
        raise UserError(
            f"{about.title} is not in {root}: neither it nor a folder in it holds {marks};"
            f" {catalogue.how_to_get(about)}."
        )
    if len(found) > 1:
        raise UserError(f"there are several copies of {about.title}: {', '.join(map(str, found))}; name one of them.")
    return found[0]


def _holds(dataset: str, folder: Path) -> bool:
    """Whether a folder looks like the data set's: by what is in it, not by its name."""
    if not all((folder / mark).exists() for mark in ARCHIVES[dataset].marks):
        return False
    if dataset != "imagenet-1k":
        return True
    try:
        return any(CLASS_FOLDER.fullmatch(path.name) for path in (folder / "train").iterdir())
    except OSError:
        return False
