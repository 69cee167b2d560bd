"""One door for trained students: a folder in our format, or a file of the authors'."""

from pathlib import Path

from sakbench.errors import UserError
from sakbench.models import reference
from sakbench.models.hub import CONFIG, WEIGHTS, ImageSize, read_config
from sakbench.models.plain import PlainStudent
from sakbench.models.prism import Prism
from sakbench.models.sak import SAK

Trained = SAK | Prism | PlainStudent
STUDENTS: dict[str, type[SAK] | type[Prism] | type[PlainStudent]] = {
    kind.__name__: kind for kind in (SAK, Prism, PlainStudent)
}
FILES = (".pth", ".pt", ".safetensors")  # the authors'


def load_checkpoint(path: str | Path, image_size: ImageSize | None = None) -> Trained:
    """The student of a folder that `save_pretrained` wrote (or of its model.safetensors), or of the authors' file.

    `image_size`, (H, W) or a side, is what it shall take instead of what it was trained with.
    Raises UserError if there is neither, or it cannot be read.
    """
    path = Path(path)
    if path.name == WEIGHTS and (path.parent / CONFIG).is_file():
        path = path.parent
    if path.is_file() and path.suffix in FILES:
        return reference.load(path, image_size)
    if not path.exists():
        raise UserError(f"there is no checkpoint {path}.")
    if not (path / CONFIG).is_file():
        raise UserError(
            f"{path} is no checkpoint: a folder with {CONFIG} and {WEIGHTS}, or the authors' file "
            f"({', '.join(FILES)}) is due."
        )
    kind = read_config(path / CONFIG).get("model")
    if kind not in STUDENTS:
        raise UserError(f"{path / CONFIG} describes no student of sakbench: its model is {kind!r}.")
    return STUDENTS[kind].from_pretrained(path, image_size=image_size)
