"""The numbers that the paper and its successors print, as data.

One CSV per table, one line per number. A row's name (`row`) is the paper's own words and unique within its table, with
the fine-tune setting, data percentage or fusion behind it where the paper prints one ("ViT Freeze", "SAK 25%"); `model`
and `group` hold those two parts apart. `task` is a task or another quantity (`delta_m`, `params_m`, `macs_g`,
`rep_sim`, ...); `note` is what stands beside the number ("about", the teacher that an oracle took it from). In Table 28
the text's rows are shifted against their labels; here RADIO and SAK each have two backbones at two resolutions.
"""

from functools import cache
from importlib.resources import files

import pandas as pd

from sakbench.errors import unknown


def frame() -> pd.DataFrame:
    """Every published number, in the tables' own order.

    Columns: table, row, model, group, dataset, backbone, task, metric, value, unit, higher_is_better (missing for
    quantities that are neither), note, source. `(table, row, dataset, task)` is unique.
    """
    return _read().copy()


def table(name: str) -> pd.DataFrame:
    """The numbers of one table, by its name ("table7", "successors"). Raises `UserError` for a name without numbers."""
    published = frame()
    selected = published[published["table"] == name]
    if selected.empty:
        raise unknown("published table", name, published["table"].unique())
    return selected.reset_index(drop=True)


@cache
def _read() -> pd.DataFrame:
    folder = files("sakbench.store") / "published"
    parts = []
    for file in sorted((f for f in folder.iterdir() if f.name.endswith(".csv")), key=lambda f: _order(f.name)):
        with file.open(encoding="utf-8") as lines:
            parts.append(pd.read_csv(lines, dtype={"value": float}, keep_default_na=False))
    whole = pd.concat(parts, ignore_index=True)
    directions = whole["higher_is_better"].map({"true": True, "false": False, True: True, False: False, "": pd.NA})
    return whole.assign(higher_is_better=directions.astype("boolean"))


def _order(file_name: str) -> tuple[int, str]:
    digits = "".join(c for c in file_name if c.isdigit())
    return (int(digits) if file_name.startswith("table") else 1000, file_name)
