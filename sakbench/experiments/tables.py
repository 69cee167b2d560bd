"""The experiments by name: the paper's tables, which are the files in `paper/`, probes, and a user's own files."""

from importlib.resources import files
from pathlib import Path

from sakbench.errors import UserError, unknown
from sakbench.experiments import pairs
from sakbench.experiments.files import parse, read
from sakbench.experiments.rows import Experiment, Row, probe, under
from sakbench.runs.scales import Scale
from sakbench.tasks import protocols

TRIO = ("DINOv2", "CLIP", "SAM")

_SUFFIX = ".toml"
_ELSEWHERE = {
    "table1": "describes the teachers: `sakbench zoo` lists them",
    "table10": "names the pretrained models: `sakbench zoo` lists them",
    "table11": "lists settings: `sakbench show RUN` tells those of a run",
    "figure2": "is a drawing of the method: there is nothing to run",
}
_PROBE = "probe:"


def _order(name: str) -> tuple[int, str]:
    """Tables by their numbers, then figures, then what the paper has not."""
    kind = name.rstrip("0123456789")
    first = {"table": 0, "figure": 1000}.get(kind, 2000)
    return first + int(name[len(kind) :] or 0), name


def _papers() -> dict[str, Experiment]:
    texts = {
        file.name.removesuffix(_SUFFIX): file.read_text(encoding="utf-8")
        for file in (files("sakbench.experiments") / "paper").iterdir()
        if file.name.endswith(_SUFFIX)
    }
    return {name: parse(texts[name], name, f"{name}{_SUFFIX}") for name in sorted(texts, key=_order)}


EXPERIMENTS = _papers()


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
    if name.startswith((_PROBE, pairs.PREFIX)):
        return True
    table, dash, protocol = name.partition("-")
    return table in EXPERIMENTS and (not dash or protocol in protocols.PROTOCOLS)


def get(name: str, protocol: str = "") -> Experiment:
    """The experiment of that name, under another protocol for boundary if one is named (or follows: table7-invpt).

    A name that ends with .toml is a user's own file. Raises `UserError` if there is none, or it cannot be read.
    """
    if name.startswith(_PROBE):
        return probe_of(name.removeprefix(_PROBE))
    if name.startswith(pairs.PREFIX):
        return pairs.stored(name.removeprefix(pairs.PREFIX))
    if name.endswith(_SUFFIX):
        return _chosen(_own(Path(name)), protocol or "paper")
    if not exists(name) and _is_file(Path(f"{name}{_SUFFIX}")):
        raise UserError(f"there is no experiment named {name!r}: did you mean {name}{_SUFFIX}?")
    name, _, suffix = name.partition("-")
    if protocol and suffix and protocol != suffix:
        raise UserError(f"{name}-{suffix} and protocol {protocol} contradict each other: name one of the two.")
    if name in _ELSEWHERE:
        raise UserError(f"{name} {_ELSEWHERE[name]}.")
    if name not in EXPERIMENTS:
        raise unknown("experiment", name, EXPERIMENTS)
    return _chosen(EXPERIMENTS[name], protocol or suffix or "paper")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file can have that name
        return False


def _own(path: Path) -> Experiment:
    experiment = read(path)
    if exists(experiment.name):
        raise UserError(f"{path} is named like the paper's {experiment.name}: give the file a name of its own.")
    return experiment


def _chosen(experiment: Experiment, protocol: str) -> Experiment:
    protocols.get(protocol)
    return experiment if protocol == "paper" else under(experiment, protocol)
