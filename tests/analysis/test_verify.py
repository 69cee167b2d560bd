import pytest

from sakbench.analysis.verify import verify
from sakbench.store import published


def gains(checks):
    return [check for check in checks if check["quantity"] == "delta_m"]


def test_one_row_of_the_paper_does_not_follow_its_formula():
    checks = [check for check in gains(verify(published.frame())) if check["table"].startswith("table")]
    assert len(checks) == 145
    wrong = [check for check in checks if not check["agrees"]]
    assert [(c["table"], c["row"], c["published"]) for c in wrong] == [("table16", "TFUT", 3.99)]
    assert wrong[0]["recomputed"] == pytest.approx(4.36, abs=0.005)


def test_successors():
    checks = {c["published"]: c for c in gains(verify(published.frame())) if c["table"] == "successors"}
    assert {printed: check["agrees"] for printed, check in checks.items()} == {2.29: False, 3.16: True, 10.59: True}
    assert checks[2.29]["recomputed"] == pytest.approx(2.52, abs=0.005)


def test_bias_profiles_agree():
    checks = [check for check in verify(published.frame()) if check["table"] == "figure1"]
    assert len(checks) == 18
    assert all(check["agrees"] for check in checks)


def test_a_changed_number_is_found():
    frame = published.frame()
    changed = (frame["table"] == "table7") & (frame["row"] == "CLIP") & (frame["task"] == "normals")
    frame.loc[changed, "value"] += 0.1
    wrong = {(c["table"], c["row"]) for c in verify(frame) if not c["agrees"]}
    assert wrong == {("table7", "CLIP"), ("table16", "TFUT"), ("successors", "PRISM ViT-B")}


def test_a_check_is_plain_json():
    check = verify(published.frame())[0]
    assert {k: type(v) for k, v in check.items()} == {
        "table": str,
        "row": str,
        "quantity": str,
        "published": float,
        "recomputed": float,
        "agrees": bool,
    }
