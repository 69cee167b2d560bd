"""The account of the paper's models, to the digits that are known, and what the command prints."""

import json

import pytest
from rich.console import Console

from sakbench.errors import UserError
from sakbench.experiments.accounts import left_out, rows
from sakbench.experiments.rows import upper_bound
from sakbench.experiments.tables import TRIO
from sakbench.experiments.weighing import image, macs
from sakbench.models.parameters import parameter_count
from sakbench.report import accounting
from sakbench.runs.costs import weightless
from sakbench.runs.scales import PAPER

# G MACs under the paper's convention, of one image, to two more digits than the paper prints
MACS = {
    "table19": {
        "Upper bound Addition": 1090.67,
        "Upper bound Concat": 7660.99,
        "Upper bound MoR": 1096.80,
        "SAK MoR": 544.26,
    },
    "table21": {
        "DFN CLIP-H/14": 460.07,
        "SigLIP-SO400M/14": 300.35,
        "DINOv2-g/14": 291.40,
        "SAM-H/16": 2729.88,
        "RADIOv2.5-L/16": 1240.17,
        "DINOv2-L/14": 221.04,
        "OpenCLIP-L/14": 221.04,
        "SAM-L/16": 1308.42,
        "SAK-L/16": 197.53,
    },
    "table22": {
        "ViT-B/16": 87.74,
        "ViT-B/16 +TSAP (3 branches)": 99.56,
        "ViT-B/16 +MoR (5 tasks)": 105.70,
        "ViT-L/16": 310.55,
        "ViT-L/16 +TSAP (3 branches)": 350.90,
        "ViT-L/16 +MoR (5 tasks)": 361.76,
    },
}
PARAMETERS = {
    "table19": {"Upper bound Addition": 377.81, "Upper bound Concat": 820.30, "Upper bound MoR": 383.79},
    "table21": {
        "DFN CLIP-H/14": 631.37,
        "SigLIP-SO400M/14": 412.98,
        "DINOv2-g/14": 1134.77,
        "SAM-H/16": 636.11,
        "RADIOv2.5-L/16": 319.88,
        "SAM-L/16": 307.43,
        "SAK-L/16": 343.13,
    },
}


@pytest.fixture(scope="module")
def account():
    return rows()


def test_all_numbers_agree_or_say_why(account):
    assert {row.table for row in account} == {f"table{n}" for n in (5, 6, 12, 13, 14, 15, 16, 19, 21, 22)}
    assert len(account) == 91
    assert {(row.table, row.row, row.quantity) for row in account if not row.agrees} == {
        ("table5", "MLoRE", "params_m"),
        ("table15", "MLoRE", "params_m"),
        ("table21", "Sum over all teachers and student, RADIO", "macs_g"),
    }
    for row in account:
        assert bool(row.why) != row.agrees
        assert row.agrees == (round(row.computed) == row.published)
    assert left_out(account) == 40


def test_two_more_digits(account):
    for quantity, tables in (("macs_g", MACS), ("params_m", PARAMETERS)):
        computed = {(row.table, row.row): row.computed for row in account if row.quantity == quantity}
        known = {(table, row): value for table, values in tables.items() for row, value in values.items()}
        assert {key: round(computed[key], 2) for key in known} == known


def test_the_full_convention_is_there_for_macs_alone_and_never_mixed_up(account):
    by_name = {(row.table, row.row): row for row in account if row.quantity == "macs_g"}
    assert all(row.full > row.computed for row in by_name.values())
    assert all(row.full is None and row.executed is None for row in account if row.quantity == "params_m")
    assert f"{by_name['table22', 'ViT-L/16'].full:.0f}" == "362"
    sak, encoder = by_name["table19", "SAK MoR"], by_name["table22", "ViT-B/16 +MoR (5 tasks)"]
    assert f"{(sak.computed - encoder.computed) / sak.computed:.0%}" == "81%"  # the heads
    assert sak.executed < sak.full / 3  # which convolve before they interpolate
    assert encoder.executed <= encoder.full


def test_the_four_encoders_alone():
    run = upper_bound(PAPER, 0, TRIO, "addition")
    bound = weightless(run)
    encoders = [bound.stem, *bound.teachers.values()]
    assert len(encoders) == 4
    assert round(sum(map(parameter_count, encoders)) / 1e6, 2) == 348.27
    assert round(macs(bound, lambda: bound.represent(image(run.size))).paper / 1e9, 2) == 652.10


def test_one_table_by_either_name():
    assert rows(["22"]) == rows(["table22"])
    assert {row.table for row in rows(["22"])} == {"table22"}
    with pytest.raises(UserError, match="no table with parameters or MACs named 'table7'"):
        rows(["7"])


def test_json_and_table(capsys):
    accounting.account(as_json=True, tables=["22", "15"])
    entries = json.loads(capsys.readouterr().out)
    assert [entry["table"] for entry in entries[:1] + entries[-1:]] == ["table15", "table22"]
    assert {"table", "row", "quantity", "published", "computed", "agrees"} == set(entries[0])
    assert {"full", "executed"} <= set(entries[-1])
    assert [entry["row"] for entry in entries if "why" in entry] == ["MLoRE"]
    narrow = Console(width=100)
    with narrow.capture() as printed:
        narrow.print(accounting._layout(rows(["15", "22"])))
    assert all(len(line) <= 100 for line in printed.get().splitlines())
    assert "…" not in printed.get()
    accounting.account(as_json=False, tables=["15"])
    assert "4 of 5 numbers agree to the printed digit; 7 more rows" in capsys.readouterr().out
    accounting.account(as_json=False, tables=["22"])
    assert "12 of 12 numbers agree to the printed digit.\n" in capsys.readouterr().out
