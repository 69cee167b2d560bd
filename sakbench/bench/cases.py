"""What is timed: inference, training steps and evaluation; of ours, of the plain formulation, of a bare ViT."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sakbench.bench.plain import PlainHead, PlainSAK, plain_distillation, plain_teacher
from sakbench.bench.setting import Act, Setting
from sakbench.models.parameters import set_trainable
from sakbench.tasks.base import Task
from sakbench.training import evaluation
from sakbench.training.committee import Committee
from sakbench.training.compiling import Compiled, compiles
from sakbench.training.objectives import DistillObjective, TaskObjective
from sakbench.training.optimization import Optimization
from sakbench.training.recipe import Recipe

Case = Mapping[str, Callable[[Setting], Act]]  # by subject: makes what is called again and again

OURS, PLAIN, BARE = "sakbench", "plain formulation", "bare ViT"


def _our_inference(setting: Setting) -> Act:
    student, images = setting.sak().eval(), setting.pixels().to(setting.device)
    call = Compiled(student) if compiles(images.device) else student
    size = setting.output
    return _without_gradients(setting.computing, lambda: call(images, size))


def _plain_inference(setting: Setting) -> Act:
    student, images = PlainSAK(setting.sak()).eval().to(setting.device), setting.pixels().to(setting.device)
    size = setting.output
    return _without_gradients(_plain_half(setting), lambda: student(images, size))


def _bare_inference(setting: Setting) -> Act:
    encoder, images = setting.encoder(setting.scale.vit).eval().to(setting.device), setting.pixels().to(setting.device)
    call = Compiled(encoder) if compiles(images.device) else encoder
    return _without_gradients(setting.computing, lambda: call(images))


def _our_step(setting: Setting, *, stage: int, known: bool = False) -> Act:
    run = setting.tuned if stage == 2 else setting.tuned.start
    assert run is not None
    student = setting.student(run)
    objective = DistillObjective(student) if stage == 1 else TaskObjective(student, setting.chosen, run.gamma)
    committee = Committee({} if known else setting.committee(), torch.device(setting.device), setting.precision)
    return _stepped(setting, run.recipe, objective, setting.batch(known=known), committee)


def _our_probe(setting: Setting) -> Act:
    run = setting.baseline
    student = setting.student(run)
    set_trainable(student, "freeze")
    return _stepped(setting, run.recipe, TaskObjective(student, setting.chosen, 0.0), setting.batch())


def _stepped(
    setting: Setting,
    recipe: Recipe,
    objective: nn.Module,
    batch: dict[str, Any],
    prepare: Callable[[Any], Any] = lambda batch: batch,
) -> Act:
    """The package's own step."""
    optimization = Optimization(objective, recipe, on_cpu=setting.device == "cpu", prepare=prepare)
    optimization.begin()
    return lambda: optimization.step(0, [batch])


def _plain_step(setting: Setting, *, stage: int, known: bool = False) -> Act:
    student = PlainSAK(setting.sak()).train().to(setting.device)
    if stage == 1:
        student.heads.requires_grad_(False)
        student.backbone.mor.requires_grad_(False)
        student.backbone.tasks = []
    teachers = _plain_committee(setting, known=known)
    batch, tasks = _channels_first(setting.batch(known=known)), {} if stage == 1 else setting.chosen
    run, size = setting.tuned.start if stage == 1 else setting.tuned, setting.output
    assert run is not None

    def losses() -> dict[str, Tensor]:
        fused, aligned = student.backbone(batch["image"], align=True)
        terms = {}
        for theirs, head in student.heads.items() if tasks else ():
            name = student.names[theirs]
            terms[name] = tasks[name].loss_weight * tasks[name].loss(head(fused[theirs], size), batch[name])
        features = _plain_features(teachers, batch)
        for theirs, maps in aligned.items():
            terms[student.names[theirs]] = plain_distillation(maps, features[student.names[theirs]])
        return terms

    return _plainly_stepped(setting, run.recipe, student, losses)


def _plain_probe(setting: Setting) -> Act:
    encoder = setting.encoder(setting.scale.vit).eval().requires_grad_(False).to(setting.device)
    heads = nn.ModuleDict({name: PlainHead(encoder.dim, task.channels) for name, task in setting.chosen.items()})
    heads.train().to(setting.device)
    batch, tasks, size = setting.batch(), setting.chosen, setting.output

    def losses() -> dict[str, Tensor]:
        with torch.no_grad():
            maps = encoder(batch["image"])
        return {
            name: task.loss_weight * task.loss(heads[name](maps, size), batch[name]) for name, task in tasks.items()
        }

    return _plainly_stepped(setting, setting.baseline.recipe, heads, losses)


def _bare_step(setting: Setting) -> Act:
    encoder, images = setting.encoder(setting.scale.vit).train().to(setting.device), setting.pixels().to(setting.device)
    objective = _Sum(encoder)
    return _stepped(setting, setting.tuned.recipe, objective, {"image": images})


class _Sum(nn.Module):
    """A ViT's training without task and loss: the mean of its last map is made small."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"mean": self.encoder(batch["image"])[-1].float().mean()}


def _plainly_stepped(
    setting: Setting, recipe: Recipe, module: nn.Module, losses: Callable[[], dict[str, Tensor]]
) -> Act:
    """A step as it is usually written: float16 with a scaler on a GPU, every loss fetched."""
    half = _plain_half(setting)
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    scaler = torch.amp.GradScaler(setting.device, enabled=setting.device == "cuda" and setting.precision == "bf16")

    def step() -> dict[str, float]:
        optimizer.zero_grad()
        with half:
            terms = losses()
            loss = torch.stack(list(terms.values())).sum()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        if recipe.clip is not None:
            nn.utils.clip_grad_norm_(parameters, recipe.clip)
        scaler.step(optimizer)
        scaler.update()
        return {name: term.item() for name, term in terms.items()}

    return step


def _our_evaluation(setting: Setting) -> Act:
    student, batch, tasks = setting.sak().eval(), setting.batch(), _counted_on_the_device(setting)

    def evaluate() -> dict[str, float]:
        with setting.computing:
            sums = evaluation.task_sums(student, [batch] * BATCHES["evaluation"], tasks)
            return {name: evaluation.metric_of(task, sums[name]) for name, task in tasks.items()}

    return evaluate


def _plain_evaluation(setting: Setting) -> Act:
    """As in the field's code teachers look on, and all losses are computed."""
    student, tasks = PlainSAK(setting.sak()).eval().to(setting.device), _counted_on_the_device(setting)
    teachers, batch, half, size = _plain_committee(setting), setting.batch(), _plain_half(setting), setting.output
    batch = _channels_first(batch)

    def evaluate() -> dict[str, float]:
        metrics = {name: task.new_metric() for name, task in tasks.items()}
        with torch.inference_mode(), half:
            for _ in range(BATCHES["evaluation"]):
                fused, aligned = student.backbone(batch["image"], align=True)
                logits = student.decode(fused, size)
                features = _plain_features(teachers, batch)
                for theirs, maps in aligned.items():
                    plain_distillation(maps, features[student.names[theirs]]).item()
                for name, task in tasks.items():
                    task.loss(logits[name], batch[name]).item()
                    metrics[name].update(task.decode(logits[name]), batch[name])
            return {name: metric.compute() for name, metric in metrics.items()}

    return evaluate


def _bare_evaluation(setting: Setting) -> Act:
    one = _bare_inference(setting)
    return lambda: [one() for _ in range(BATCHES["evaluation"])]


def _counted_on_the_device(setting: Setting) -> dict[str, Task]:
    """The tasks but boundary, whose odsF is timed by `benchmarks/metrics.py`."""
    return {name: task for name, task in setting.chosen.items() if name != "boundary"}


def _plain_committee(setting: Setting, *, known: bool = False) -> dict[str, nn.Module]:
    encoders = {} if known else setting.committee()
    return {
        name: plain_teacher(encoder).eval().requires_grad_(False).to(setting.device)
        for name, encoder in encoders.items()
    }


def _plain_features(teachers: Mapping[str, nn.Module], batch: dict[str, Any]) -> dict[str, list[Tensor]]:
    """What the teachers make of the images, or what is known of it."""
    if not teachers:
        return {name.removeprefix("features/"): maps for name, maps in batch.items() if name.startswith("features/")}
    with torch.no_grad():
        return {name: teacher(batch["image"]) for name, teacher in teachers.items()}


def _channels_first(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with known features as timm gives them: channels first."""
    return {
        name: [level.contiguous() for level in value] if isinstance(value, list) else value
        for name, value in batch.items()
    }


def _plain_half(setting: Setting) -> torch.autocast:
    dtype = torch.float16 if setting.device == "cuda" else torch.bfloat16
    return torch.autocast(setting.device, dtype, enabled=setting.precision == "bf16")


def _without_gradients(half: torch.autocast, act: Act) -> Act:
    def acted() -> Any:
        with torch.inference_mode(), half:
            return act()

    return acted


CASES: dict[str, Case] = {
    "inference": {OURS: _our_inference, PLAIN: _plain_inference, BARE: _bare_inference},
    "student": {
        OURS: lambda setting: _our_step(setting, stage=2, known=True),
        PLAIN: lambda setting: _plain_step(setting, stage=2, known=True),
        BARE: _bare_step,
    },
    "stage1": {
        OURS: lambda setting: _our_step(setting, stage=1),
        PLAIN: lambda setting: _plain_step(setting, stage=1),
        BARE: _bare_step,
    },
    "stage2": {
        OURS: lambda setting: _our_step(setting, stage=2),
        PLAIN: lambda setting: _plain_step(setting, stage=2),
        BARE: _bare_step,
    },
    "probe": {OURS: _our_probe, PLAIN: _plain_probe},
    "evaluation": {OURS: _our_evaluation, PLAIN: _plain_evaluation, BARE: _bare_evaluation},
}
BATCHES = {"evaluation": 4}  # in one call, where that is not one
ABOUT = {
    "inference": "the student's forward pass",
    "student": "a step of stage 2 whose teachers' features are known",
    "stage1": "a step of stage 1: teachers (at scale mini their features are known), student, optimiser",
    "stage2": "a step of stage 2: teachers (at scale mini their features are known), student, heads, optimiser",
    "probe": "a step of heads on a frozen backbone",
    "evaluation": "the student's forward pass and the metrics but odsF; plainly, teachers and losses too",
    "data": "images read, decoded, augmented and collated",
}
