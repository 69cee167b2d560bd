from sakbench.experiments import tables
from sakbench.experiments.rows import multi_task, sak, stage1
from sakbench.runs.jobs import Bank, banks_of, jobs
from sakbench.runs.plan import label, plan
from sakbench.runs.scales import MINI, get

NOTHING = {"is_stored": lambda run: False, "has_weights": lambda run: False}


def specs(name, seeds=(0,), scale=MINI):
    return [s for seed in seeds for row in tables.get(name).build(scale, seed) for s in row.runs]


def test_table7_trains_each_stage_once_and_ancestors_first():
    order = plan(specs("table7"), **NOTHING)
    ids = [spec.id for spec in order]
    assert len(ids) == len(set(ids)) == 5 + 1 + 5 + 5  # single-task, multi-task, stages 1 and 2
    for spec in order:
        if spec.start is not None:
            assert ids.index(spec.start.id) < ids.index(spec.id)


def test_tables_share_their_runs():
    together = plan([*specs("table7"), *specs("table4")], **NOTHING)
    # Table 4 adds the student without stage 1 and the one without distillation in stage 2; the rest is Table 7's.
    assert len(together) == len(plan(specs("table7"), **NOTHING)) + 2


def test_what_is_stored_is_not_run_again():
    stored = {spec.id for spec in plan(specs("table7"), **NOTHING)}
    assert plan(specs("table7"), is_stored=stored.__contains__, has_weights=lambda run: False) == []


def test_an_ancestor_without_weights_runs_again_only_for_a_descendant():
    student = sak(MINI, 0, ("CLIP",))
    stored = {student.start.id}
    missing = plan([student], is_stored=stored.__contains__, has_weights=lambda run: False)
    assert missing == [student.start, student]
    assert plan([student], is_stored=stored.__contains__, has_weights=stored.__contains__) == [student]


def test_jobs_know_the_features_they_read():
    student = sak(MINI, 0, ("CLIP",))
    todo = {job.id: job for job in jobs(plan([student], **NOTHING))}
    clip = MINI.teachers["CLIP"]
    tuned = todo[student.id]
    assert student.start.id in tuned.after
    assert Bank(MINI.dataset, "train", MINI.train_images, clip, flipped=True).id in tuned.after
    assert Bank(MINI.dataset, "distill", MINI.distill_images, clip).id in todo[student.start.id].after
    assert all(needed in todo for job in todo.values() for needed in job.after)


def test_no_features_are_made_for_a_run_that_reads_none():
    assert banks_of(multi_task(MINI, 0)) == []
    assert banks_of(sak(MINI, 0, ("SAM",), gamma=0.0)) == []
    assert banks_of(sak(MINI, 0, ("SAM",), frozen=True)) == []


def test_long_chains_start_first():
    order = [job.id for job in jobs(plan(specs("table7"), **NOTHING))]
    trio = stage1(MINI, 0, ("DINOv2", "CLIP", "SAM"))
    alone = [s for s in specs("table7") if label(s) == "single-task semseg"]
    assert order.index(trio.id) < order.index(alone[0].id)


def test_labels_tell_the_runs_of_a_table_apart():
    for experiment in tables.EXPERIMENTS.values():
        for scale in experiment.scales:
            order = plan(specs(experiment.name, scale=get(scale)), **NOTHING)
            assert len({(label(s), s.recipe.steps) for s in order}) == len(order)
