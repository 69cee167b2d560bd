"""What is known of a backbone before anything of it is loaded, and how it is found by name (no torch here)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from sakbench import plugins
from sakbench.errors import unknown

TIMM_PREFIX = "timm/"
Four = tuple[int, int, int, int]


@dataclass(frozen=True)
class BackboneInfo:
    """One backbone, named `architecture.tag`; sizes in pixels.

    `dims` and `strides` are the width and the pixels per cell of its four levels, all the same in a plain transformer;
    `heads` is 0 where they differ between stages or there are none.
    `parameters` counts the encoder at its own `image_size`, without final norm, neck and head.
    `data_size` counts the images of `data` (paper Table 1), "not stated" where their makers do not say.
    `weights` says where they come from: shipped with the package, timm's hub, another hub (`hub` names the
    repository), the function that another package has registered with it ("own"; `version` tells them apart), or
    nowhere (fixed random ones).
    `own_input` marks a model that sees images at its own `image_size`, whatever the others see (SAM).
    """

    name: str
    dims: Four
    depth: int
    heads: int
    strides: Four
    prefix_tokens: int
    image_size: int
    parameters: int
    objective: str
    data: str
    data_size: str
    licence: str
    note: str = ""
    weights: Literal["package", "timm", "hub", "random", "own"] = "timm"
    hub: str = ""
    own_input: bool = False
    version: str = ""

    @property
    def dim(self) -> int:
        """The width of the last level, in a plain transformer of every level."""
        return self.dims[-1]

    @property
    def patch_size(self) -> int:
        """The pixels per cell of the last level, in a plain transformer the patch."""
        return self.strides[-1]

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest size (H, W), not below `size`, that its patches divide; `size` itself for one with own input."""
        if self.own_input:
            return size
        height, width = (-(-side // self.patch_size) * self.patch_size for side in size)
        return height, width

    @property
    def repository(self) -> str:
        """Where its weights lie on the Hugging Face hub; empty if they do not."""
        return f"timm/{self.name.removeprefix(TIMM_PREFIX)}" if self.weights == "timm" else self.hub


# Of an image size (H, W), and whether weights are wanted, a module with timm's `forward_intermediates`.
Build = Callable[[tuple[int, int], bool], Any]

BACKBONES: dict[str, BackboneInfo] = {}
BUILDERS: dict[str, Build] = {}  # of those whose weights are "own"


def register(entry: BackboneInfo, build: Build | None = None) -> BackboneInfo:
    """Put an entry into the table, under its name; with `build`, which makes the module, its weights are "own".

    `build(size, pretrained)` is given an image size (H, W) and whether its weights are wanted. Raises UserError for a
    name of the package's own, which an entry with `build` cannot have.
    """
    if build is not None:
        plugins.claim("backbone", entry.name, BACKBONES)
        entry = replace(entry, weights="own")
        BUILDERS[entry.name] = build
    BACKBONES[entry.name] = entry
    return entry


def names() -> tuple[str, ...]:
    """The registered names; beside these, `timm/<architecture>.<tag>` names any encoder of timm."""
    plugins.load()
    return tuple(BACKBONES)


def info(name: str) -> BackboneInfo:
    """The entry of a registered backbone, or one made from timm's own configuration (which imports torch).

    Raises UserError for a name that neither the table nor timm has.
    """
    plugins.load()
    bare = name.removeprefix(TIMM_PREFIX)
    known = BACKBONES.get(bare)
    if known and (name == bare or known.weights == "timm"):
        return replace(known, name=name)
    if name.startswith(TIMM_PREFIX):
        from sakbench.backbones.build import timm_info

        return timm_info(name)
    tagged = [entry for entry in BACKBONES if entry.startswith(f"{name}.")]
    raise unknown("backbone", name, tagged or BACKBONES)
