"""The paper's tables as data. A new table is one function and one entry of `EXPERIMENTS`."""

from dataclasses import replace

from sakbench.errors import UserError, unknown
from sakbench.experiments.rows import (
    Experiment,
    Row,
    longer,
    multi_task,
    probe,
    sak,
    single_task,
    stage1,
    under,
    upper_bound,
)
from sakbench.runs.scales import Scale
from sakbench.tasks import protocols

TRIO = ("DINOv2", "CLIP", "SAM")
GAMMAS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
COMMITTEES = (("DINOv2",), ("CLIP",), ("SAM",), ("DINOv2", "CLIP"), TRIO)

# How many times longer the multi-task baseline trains to have had at least the time of SAK's two stages and of the
# trio's features at scale mini (`benchmarks/compute.py`).
SAK_COMPUTE = 3.5


def _baselines(scale: Scale, seed: int) -> list[Row]:
    return [
        Row(
            "Single-task baseline", tuple(single_task(scale, seed, t) for t in scale.tasks), ("table12", "ViT ST Full")
        ),
        Row("Multi-task baseline", (multi_task(scale, seed),), ("table7", "Multi-task baseline")),
    ]


def table7(scale: Scale, seed: int) -> list[Row]:
    """Committees of teachers."""
    students = [Row("+".join(c), (sak(scale, seed, c),), ("table7", "+".join(c))) for c in COMMITTEES]
    return [*_baselines(scale, seed), *students]


def compute(scale: Scale, seed: int) -> list[Row]:
    """Whether SAK's gain is one of training time."""
    trio = "+".join(TRIO)
    return [
        *_baselines(scale, seed),
        Row("Multi-task, SAK's compute", (longer(multi_task(scale, seed), SAK_COMPUTE),)),
        Row(trio, (sak(scale, seed, TRIO),), ("table7", trio)),
    ]


def table3(scale: Scale, seed: int) -> list[Row]:
    """Modules: adapter paths (TSAP) and routers (MoR)."""
    variants = {
        "no TSAP, no MoR": sak(scale, seed, TRIO, adapter_paths=False, routers=False),
        "TSAP, no MoR": sak(scale, seed, TRIO, routers=False),
        "TSAP, MoR": sak(scale, seed, TRIO),
    }
    # Rep Sim is measured at the end of stage 1, as in the paper: it is the same with and without routers.
    rows = [Row(n, (run.start, run) if run.start else (run,), ("table3", n)) for n, run in variants.items()]
    return [_baselines(scale, seed)[0], *rows]


def table4(scale: Scale, seed: int) -> list[Row]:
    """Training stages."""
    variants = {
        "task": multi_task(scale, seed),
        "distill+task": sak(scale, seed, TRIO, distilled=False),
        "stage 1, task": sak(scale, seed, TRIO, gamma=0.0),
        "stage 1, distill+task": sak(scale, seed, TRIO),
    }
    return [_baselines(scale, seed)[0], *(Row(n, (run,), ("table4", n)) for n, run in variants.items())]


def table12(scale: Scale, seed: int) -> list[Row]:
    """Frozen, multi-task and single-task rows of every model, and the bias profile of the frozen ones."""
    rows = []
    for model, backbone in {"ViT": scale.vit, **scale.teachers, **scale.rivals}.items():
        if model not in scale.rivals:
            alone = tuple(single_task(scale, seed, task, backbone) for task in scale.tasks)
            rows.append(Row(f"{model} ST Full", alone, ("table12", f"{model} ST Full")))
        rows += [
            Row(f"{model} MT Full", (multi_task(scale, seed, backbone),), ("table12", f"{model} MT Full")),
            Row(f"{model} Freeze", (probe(scale, seed, backbone),), ("table12", f"{model} Freeze")),
        ]
    rows += [
        Row("SAK MT Full", (sak(scale, seed, TRIO),), ("table12", "SAK MT Full")),
        Row("SAK Freeze", (sak(scale, seed, TRIO, frozen=True),), ("table12", "SAK Freeze")),
    ]
    if scale.control:
        rows.append(Row("random weights at SAM's resolution Freeze", (probe(scale, seed, scale.control),), note=True))
    return rows


def table8(scale: Scale, seed: int) -> list[Row]:
    """Sizes of teachers and students."""
    rows = []
    for teachers, student in (("ViT-B", "ViT-S"), ("ViT-B", "ViT-B"), ("ViT-L", "ViT-B"), ("ViT-L", "ViT-L")):
        sized = replace(scale, vit=scale.sizes[student].vit, teachers=scale.sizes[teachers].teachers)
        name = f"{teachers} to {student}"
        rows.append(Row(name, (sak(sized, seed, TRIO),), ("table8", name)))
    return rows


def table9(scale: Scale, seed: int) -> list[Row]:
    """Decoders."""
    variants = {
        "ViT + MLoRE": multi_task(scale, seed, decoder="mlore"),
        "SAK + Simple": sak(scale, seed, TRIO),
        "SAK + MLoRE": sak(scale, seed, TRIO, decoder="mlore"),
    }
    return [_baselines(scale, seed)[0], *(Row(n, (run,), ("table9", n)) for n, run in variants.items())]


def table17(scale: Scale, seed: int) -> list[Row]:
    """How like each teacher's representations the student's are after stage 1."""
    variants = {"no TSAP": False, "TSAP": True}
    return [
        Row(name, (stage1(scale, seed, TRIO, adapter_paths=paths),), ("table17", name))
        for name, paths in variants.items()
    ]


def table19(scale: Scale, seed: int) -> list[Row]:
    """Upper bounds: the teachers themselves instead of a student's paths."""
    bounds = {"Addition": "addition", "Concat": "concat", "MoR": "mor"}
    rows = [
        Row(f"Upper bound {name}", (upper_bound(scale, seed, TRIO, fuse),), ("table19", f"Upper bound {name}"))
        for name, fuse in bounds.items()
    ]
    return [_baselines(scale, seed)[0], *rows, Row("SAK", (sak(scale, seed, TRIO),), ("table19", "SAK MoR"))]


def table20(scale: Scale, seed: int) -> list[Row]:
    """The weight of the distillation loss in stage 2."""
    rows = [
        Row(f"γ = {gamma}", (sak(scale, seed, TRIO, gamma=gamma),), ("table20", f"γ = {gamma}")) for gamma in GAMMAS
    ]
    return [_baselines(scale, seed)[0], *rows]


def table23(scale: Scale, seed: int) -> list[Row]:
    """Encoders trained as CLIP was, on other data or by another loss."""
    rows = []
    for model, backbone in {"CLIP": scale.teachers["CLIP"], **scale.kin}.items():
        for how, run in {"MT Full": multi_task(scale, seed, backbone), "Freeze": probe(scale, seed, backbone)}.items():
            rows.append(Row(f"{model} {how}", (run,), ("table23", f"{model} {how}")))
    return [_baselines(scale, seed)[0], *rows]


def table24(scale: Scale, seed: int) -> list[Row]:
    """SigLIP in CLIP's place."""
    wider = replace(scale, teachers={**scale.teachers, **scale.kin})
    committees = (("DINOv2", "CLIP"), ("DINOv2", "SigLIP"))
    rows = [Row("+".join(c), (sak(wider, seed, c),), ("table24", "+".join(c))) for c in committees]
    return [_baselines(scale, seed)[0], *rows]


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment("table3", "Table 3 · SAK without its modules", table3, extras=("rep_sim",)),
        Experiment("table4", "Table 4 · SAK without its training stages", table4),
        Experiment("table7", "Table 7 · SAK with different committees of teachers", table7),
        Experiment("table8", "Table 8 · sizes of teachers and students", table8, baseline="", scales=("paper",)),
        Experiment("table9", "Table 9 · a stronger decoder", table9),
        Experiment(
            "table12",
            "Table 12 · frozen, multi-task and single-task, and the bias profile",
            table12,
            baseline="ViT ST Full",
            profile=True,
        ),
        Experiment("compute", "Equal compute · the multi-task baseline given SAK's", compute, scales=("mini",)),
        Experiment(
            "table17",
            "Table 17 · similarity to each teacher",
            table17,
            baseline="",
            extras=(*(f"rep_sim {name}" for name in TRIO), "rep_sim"),
        ),
        Experiment("table19", "Table 19 · upper bounds from the teachers themselves", table19),
        Experiment("table20", "Table 20 · the weight γ of the distillation loss", table20),
        Experiment("table23", "Table 23 · CLIP and its kin", table23, scales=("paper",)),
        Experiment("table24", "Table 24 · SigLIP in CLIP's place", table24, scales=("paper",)),
    )
}


_PROBE = "probe:"


def probe_of(backbone: str) -> Experiment:
    """The bias profile of any encoder beside those of the paper's teachers: frozen rows alone."""

    def build(scale: Scale, seed: int) -> list[Row]:
        known = {"ViT": scale.vit, **scale.teachers}
        rows = [
            Row(f"{model} Freeze", (probe(scale, seed, name),), ("table12", f"{model} Freeze"))
            for model, name in known.items()
        ]
        if backbone in known.values():
            return rows
        return [*rows, Row(f"{backbone} Freeze", (probe(scale, seed, backbone),))]

    name, title = f"{_PROBE}{backbone}", f"Bias profile of {backbone}"
    return Experiment(name, title, build, baseline="", profile=True, own=True)


def exists(name: str) -> bool:
    """Whether there is an experiment of that name, under whichever protocol."""
    if name.startswith(_PROBE):
        return True
    table, dash, protocol = name.partition("-")
    return table in EXPERIMENTS and (not dash or protocol in protocols.PROTOCOLS)


def get(name: str, protocol: str = "") -> Experiment:
    """The experiment of that name, under another protocol for boundary if one is named (or follows: table7-invpt).

    Raises `UserError` if there is none.
    """
    if name.startswith(_PROBE):
        return probe_of(name.removeprefix(_PROBE))
    name, _, suffix = name.partition("-")
    if protocol and suffix and protocol != suffix:
        raise UserError(f"{name}-{suffix} and protocol {protocol} contradict each other: name one of the two.")
    protocol = protocol or suffix or "paper"
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    protocols.get(protocol)
    return EXPERIMENTS[name] if protocol == "paper" else under(EXPERIMENTS[name], protocol)
