"""`sakbench zoo`: the backbones that have a name, what they were trained on, and whether their weights are here."""

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from sakbench import backbones
from sakbench.report.output import console, print_json


def zoo(*, as_json: bool) -> None:
    """Print the table of known backbones, or the same as JSON: a list with one object per backbone."""
    models = [_row(name) for name in backbones.names()]
    if as_json:
        print_json(models)
    else:
        print_zoo(console(), models)


def print_zoo(out: Console, models: list[dict[str, Any]]) -> None:
    """Print two lines per model: its numbers; and what it was trained for, on what, under which licence."""
    notes = list(dict.fromkeys(model["note"] for model in models if model["note"]))
    names = [model["name"] + (f" [{notes.index(model['note']) + 1}]" if model["note"] else "") for model in models]
    width = max(map(len, names))
    out.print(Text(_line("backbone", width, ("params M", "patch", "prefix", "input", "weights")), style="bold"))
    out.print(Text("  objective · training data (images) · licence", style="bold dim"))
    out.rule(style="dim")
    for name, model in zip(names, models, strict=True):
        numbers = (
            f"{model['parameters'] / 1e6:.2f}",
            _span(model["strides"]),
            str(model["prefix_tokens"]),
            f"{model['image_size']}{'*' if model['own_input'] else ' '}",
            model["weights"],
        )
        out.print(Text(_line(name, width, numbers)))
        trained = f"{model['objective']} · {_data(model)} · {model['licence']}"
        out.print(Padding(Text(trained, style="dim"), (0, 0, 0, 2), expand=False))
    out.print("\npatch and input in pixels · prefix tokens are left out of the maps", highlight=False)
    out.print("* brings images of any size to its own, whatever the others see", highlight=False)
    for number, note in enumerate(notes, start=1):
        out.print(f"[{number}] {note}", markup=False, highlight=False)
    out.print(
        "\nAny other encoder of timm is called timm/<architecture>.<tag>; --weights FILE takes the place of the hub's"
        " weights. Parameters are the encoder's, without final norm and head.",
        highlight=False,
    )


def _line(name: str, width: int, cells: tuple[str, str, str, str, str]) -> str:
    parameters, patch, prefix, size, weights = cells
    return f"{name:<{width}}{parameters:>9}{patch:>6}{prefix:>7}{size:>6}  {weights}"


def _row(name: str) -> dict[str, Any]:
    entry = backbones.info(name)
    return {
        "name": name,
        "parameters": entry.parameters,
        "dims": list(entry.dims),
        "strides": list(entry.strides),
        "prefix_tokens": entry.prefix_tokens,
        "image_size": entry.image_size,
        "own_input": entry.own_input,
        "objective": entry.objective,
        "data": entry.data,
        "data_size": entry.data_size,
        "licence": entry.licence,
        "weights": backbones.whereabouts(entry),
        "repository": entry.repository,
        "note": entry.note,
    }


def _data(model: dict[str, Any]) -> str:
    if model["data"] == "not stated":
        return "data not stated"
    size = model["data_size"]
    return f"{model['data']} ({'size ' if size == 'not stated' else ''}{size})" if size else model["data"]


def _span(strides: list[int]) -> str:
    return str(strides[0]) if len(set(strides)) == 1 else f"{strides[0]}-{strides[-1]}"
