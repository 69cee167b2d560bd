"""What makes a counterfactual: the models that are chosen, what is written down of them, and how they are had."""

from dataclasses import dataclass, field
from importlib.metadata import version

from sakbench import __version__
from sakbench.data.pairs import gates
from sakbench.errors import unknown
from sakbench.generation.control import Control, Depth, Edges
from sakbench.generation.diffusion import Painter, Sampling
from sakbench.generation.judge import Judge
from sakbench.generation.pinned import BASE, CONTROLNETS, DEPTH, Pinned

_LIBRARIES = ("diffusers", "transformers", "torch", "scikit-image")


@dataclass(frozen=True)
class Tools:
    """What makes a counterfactual, and who judges it, if anyone is there."""

    painter: Painter
    control: Control
    judge: Judge | None


@dataclass(frozen=True)
class Choice:
    """The models that are chosen, before any is loaded; `control` is edges or depth, `device` cuda or cpu.

    Raises `UserError` for another control.
    """

    control: str
    device: str
    base: Pinned = BASE
    controlnet: Pinned | None = None
    detector: Pinned = DEPTH
    judge: Pinned | None = None
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self):
        if self.control not in CONTROLNETS:
            raise unknown("control", self.control, CONTROLNETS)

    def about(self) -> dict[str, str]:
        """Models, versions and settings: with others, no picture would be the same. Local models are read whole."""
        return {
            "sakbench": __version__,
            **{name: version(name) for name in _LIBRARIES},
            "diffusion": self.base.about,
            "controlnet": self._controlnet.about,
            "control": Edges.about if self.control == "edges" else f"depth by {self.detector.about}",
            "classifier": self.judge.about if self.judge else "none",
            "gates": gates.about(),
            "steps": str(self.sampling.steps),
            "guidance": f"{self.sampling.guidance:g}, control {self.sampling.control:g}",
            "precision": "float16" if self.device == "cuda" else "float32",
        }

    def load(self) -> Tools:
        """The models. Raises `UserError` for one that is missing, broken or of another kind."""
        control = Edges() if self.control == "edges" else Depth(self.detector, self.device)
        painter = Painter(self.base, self._controlnet, self.device)
        return Tools(painter, control, Judge(self.judge, self.device) if self.judge else None)

    @property
    def _controlnet(self) -> Pinned:
        return self.controlnet or CONTROLNETS[self.control]
