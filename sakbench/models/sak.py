"""The SAK student: Teacher-Agnostic Stem, Teacher-Specific Adapter Paths, Mixture-of-Representations routers, heads."""

from collections.abc import Mapping, Sequence

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sakbench.backbones.encoder import LEVELS, Encoder, resize_position_embedding
from sakbench.errors import UserError
from sakbench.models import adapter as adapters
from sakbench.models import decoders
from sakbench.models import router as routing
from sakbench.models.hub import Saved
from sakbench.models.parameters import DECODER
from sakbench.models.router import Noise, fuse


class SAK(nn.Module, Saved):
    """The student of the paper's Figure 2.

    `teachers` gives each teacher's width, `tasks` each task's number of channels (none in stage 1).
    Without `adapter_paths` (Table 3, row 1) linear aligners lead from the stem to every teacher and the heads see the
    stem alone; without `routers` (row 2) they see the sum of the experts. `decoder`, `router` and `adapter` are names
    of `decoders.DECODERS`, `router.ROUTERS` and `adapter.ADAPTERS`.

    Raises UserError if the stem is not a plain vision transformer, or there is nothing to route between.
    """

    stands_on = "stem"

    def __init__(
        self,
        stem: Encoder,
        teachers: Mapping[str, int],
        tasks: Mapping[str, int] | None = None,
        *,
        adapter_paths: bool = True,
        routers: bool = True,
        noise: Noise = "position",
        decoder: str = "simple",
        router: str = "mor",
        adapter: str = "bottleneck",
    ):
        super().__init__()
        if not isinstance(stem.vit, VisionTransformer):
            raise UserError(f"SAK's stem must be a plain vision transformer, not {type(stem.vit).__name__}.")
        if not teachers:
            raise UserError("a SAK student needs at least one teacher; without any it is the multi-task baseline.")
        if routers and not adapter_paths:
            raise UserError("routers weigh adapter paths against the stem: without adapter paths, turn routers off.")
        tasks = dict(tasks or {})
        self.teachers = dict(teachers)
        self.stem = stem
        self.paths = adapters.make(adapter, len(teachers), stem.dim, stem.depth, stem.levels) if adapter_paths else None
        self.aligners = nn.ModuleList(
            Aligners(stem.dim, width, always=not adapter_paths) for width in teachers.values()
        )
        self.routers = (
            nn.ModuleList(routing.make(router, len(tasks), len(teachers) + 1, stem.dim, noise) for _ in range(LEVELS))
            if routers and tasks
            else None
        )
        self.tasks = tasks
        self.heads = decoders.make(decoder, stem.dims, tasks)
        for part in (self.paths, self.aligners, self.routers):
            initialise(part)
        self.settings = {
            "teachers": self.teachers,
            "tasks": self.tasks,
            "adapter_paths": adapter_paths,
            "routers": routers,
            "noise": noise,
            "decoder": decoder,
            **({} if router == "mor" else {"router": router}),
            **({} if adapter == "bottleneck" else {"adapter": adapter}),
        }
        self.about, self.output_size = {}, None

    def forward(self, images: Tensor, output_size: tuple[int, int] | None = None) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to each task's logits (B, c, H', W') at `output_size`, by default the images' own."""
        return self.predict(self.represent(images), output_size or (images.shape[2], images.shape[3]))

    def represent(self, images: Tensor) -> list[Tensor]:
        """Per level the experts (N+1, B, n, d): the raw stem, then each teacher's normed adapter path.

        Both `predict` and `student_maps` start from them, so that a training step runs the student once.
        """
        tokens, prefix = self.stem.tokens(images), self.stem.prefix_tokens
        stem = [tokens[level][None, :, prefix:] for level in self.stem.levels]
        if self.paths is None:
            return stem
        paths = self.paths(tokens, prefix)
        return [torch.cat(experts) for experts in zip(stem, paths, strict=True)]

    def student_maps(self, experts: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """What is compared with each teacher (Eq. 5): per level an aligned map (B, d_teacher, h, w)."""
        apart = [level.unbind() for level in experts]
        maps = {}
        for index, (teacher, aligners) in enumerate(zip(self.teachers, self.aligners, strict=True)):
            expert = 0 if self.paths is None else index + 1
            maps[teacher] = [self._map(tokens) for tokens in aligners([level[expert] for level in apart])]
        return maps

    def predict(self, experts: Sequence[Tensor], output_size: tuple[int, int]) -> dict[str, Tensor]:
        """Fuse the experts for each task (Eq. 4) and decode: logits (B, c, H, W) at `output_size`."""
        if self.routers is None:
            shared = [self._map(level.sum(dim=0)) for level in experts]
            return self.heads(dict.fromkeys(self.tasks, shared), output_size)
        gates = self._gates(experts, noisy=self.training)
        # unbound at once: the gradient of one slice is as large as the stack
        fused = [fuse(level, weights).unbind() for level, weights in zip(experts, gates, strict=True)]
        maps = {task: [self._map(level[index]) for level in fused] for index, task in enumerate(self.tasks)}
        return self.heads(maps, output_size)

    def gates(self, images: Tensor) -> Tensor:
        """The gates without noise, (levels, B, T, N+1): experts are the stem, then the teachers in order.

        Raises UserError for a student without routers.
        """
        if self.routers is None:
            raise UserError("this student has no routers, so it has no gates.")
        return torch.stack(self._gates(self.represent(images), noisy=False))

    def _gates(self, experts: Sequence[Tensor], *, noisy: bool) -> list[Tensor]:
        """Per level the gates, computed from the raw stem."""
        assert self.routers is not None
        return [router(level[0], noisy=noisy) for router, level in zip(self.routers, experts, strict=True)]

    def _map(self, tokens: Tensor) -> Tensor:
        """Patch tokens (B, n, d) as a map (B, d, h, w)."""
        return tokens.transpose(1, 2).unflatten(2, self.stem.grid)


class Aligners(nn.Module):
    """One Linear per level from the student's width to a teacher's, for the distillation loss alone.

    Where the widths are the same the levels pass unchanged, unless there `always` is one.
    """

    def __init__(self, dim: int, width: int, *, always: bool):
        super().__init__()
        needed = always or width != dim
        self.levels = nn.ModuleList(nn.Linear(dim, width) if needed else nn.Identity() for _ in range(LEVELS))

    def forward(self, tokens: Sequence[Tensor]) -> list[Tensor]:
        """Four (B, n, d) to four (B, n, d_teacher)."""
        return [align(level) for align, level in zip(self.levels, tokens, strict=True)]


def carry_over(stage1: Mapping[str, Tensor], student: SAK, grid: tuple[int, int] | None = None) -> None:
    """Start stage 2 from a stage-1 student's state: stem, adapter paths, norms and aligners; the rest stays fresh.

    The position embedding is resized from stage 1's `grid` of patch tokens (square if None).
    Raises UserError if the state is of a student with other teachers or another size.
    """
    state, key, prefix = dict(stage1), "stem.vit.pos_embed", student.stem.prefix_tokens
    try:
        side = round((state[key].shape[1] - prefix) ** 0.5)
        state[key] = resize_position_embedding(state[key], grid or (side, side), student.stem.grid, prefix)
        missing, unexpected = student.load_state_dict(state, strict=False)
    except (KeyError, RuntimeError) as error:
        raise UserError(f"the stage-1 state does not fit this student: {error}") from error
    astray = [name for name in missing if not name.startswith(DECODER)] + unexpected
    if astray:
        raise UserError(f"the stage-1 state does not fit this student: {', '.join(astray[:5])} have no counterpart.")


def add_paths(before: Mapping[str, Tensor], added: Mapping[str, Tensor], student: SAK) -> None:
    """Give a student the paths of another one (its stem too), and behind them those of one with the same stem (D.4).

    `before` and `added` are the two states, `student` has all their teachers in that order.
    Raises UserError where they do not fit together.
    """
    earlier = len({name.split(".")[1] for name in before if name.startswith("aligners.")})
    state = dict(before)
    for name, values in added.items():
        if name.startswith("paths."):  # stacked over the teachers
            state[name] = torch.cat([before[name], values])
        elif name.startswith("aligners."):
            _, index, rest = name.split(".", 2)
            state[f"aligners.{earlier + int(index)}.{rest}"] = values
    try:
        student.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"the stage-1 state does not fit this student: {error}") from error


def initialise(module: nn.Module | None) -> None:
    """As the authors' code does: every weight, the norms' too, normal with deviation 0.02; biases 0, scales 1."""
    if module is None:
        return
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name.endswith("scale"):
            nn.init.ones_(parameter)
        else:
            nn.init.normal_(parameter, std=0.02)
