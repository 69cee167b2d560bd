"""Claims: nobody does a run twice, a dead command keeps nobody waiting, and no clock is trusted."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace

import pytest
from sqlalchemy import update

from sakbench import holder
from sakbench.store import claims as claims_module
from sakbench.store import lines, open_store, schema
from sakbench.store.claims import Claims


@pytest.fixture
def store(place):
    return open_store(place, write=True)


@pytest.fixture
def now(monkeypatch):
    """The monotonic clock of whoever waits for a claim, which the test sets."""
    clock = {"now": 1000.0}
    monkeypatch.setattr(claims_module.time, "monotonic", lambda: clock["now"])
    return clock


def elsewhere(store, run):
    """Make a claim look as if its holder were on another machine."""
    claim = schema.claims
    store._database.write(lambda c: c.execute(update(claim).where(claim.c.run == run).values(machine="other")))


def test_a_run_is_one_commands(store):
    with store.claims() as first, store.claims() as second:
        assert first.take("a") is None and first.take("a") is None
        assert second.take("a") == holder.this_process()
        assert second.take("b") is None
        first.release("a")
        assert second.take("a") is None
    with store.claims() as third:  # what the others held went back when they ended
        assert third.take("a") is None and third.take("b") is None


def take_all(place, runs, taken, all_asked):
    claims = Claims(open_store(place, write=True)._database)
    for run in runs:
        if claims.take(run) is None:
            taken.put(run)
    all_asked.wait()  # who has ended gives its claims up


def test_processes_that_want_the_same_runs_share_them(place, store):
    context = multiprocessing.get_context("fork")
    runs, taken, all_asked = [f"run-{number}" for number in range(40)], context.Queue(), context.Barrier(3)
    workers = [context.Process(target=take_all, args=(place, runs, taken, all_asked)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [taken.get(timeout=60) for _ in runs]
    for worker in workers:
        worker.join()
    assert sorted(found) == sorted(runs) and taken.empty()


def hold(place, ready):
    claims = Claims(open_store(place, write=True)._database)
    claims.take("a")
    ready.set()
    time.sleep(600)


def test_a_killed_process_keeps_nobody_waiting(place, store):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    other = context.Process(target=hold, args=(place, ready))
    other.start()
    ready.wait(60)
    with store.claims() as claims:
        assert str(claims.take("a")).startswith(f"process {other.pid} on ")
        assert store.claimed() == {"a"}
        os.kill(other.pid, signal.SIGKILL)
        while not holder.Holder(*identity(store)).is_gone():  # a zombie, which nobody has waited for, is gone too
            time.sleep(0.01)
        assert store.claimed() == set()
        assert claims.take("a") is None
    other.join()


def identity(store):
    claim = schema.claims.c
    columns = (claim.machine, claim.process, claim.born, claim.name)
    return store._database.read(lambda c: c.execute(schema.claims.select().with_only_columns(*columns)).one())


def test_a_number_that_another_process_has_now_is_not_the_holder(store):
    me = holder.this_process()
    assert not me.is_gone()
    assert replace(me, born="1").is_gone()
    assert not replace(me, born="1", machine="other").is_gone()  # who can tell from here?


def watch(claims, now, seconds):
    """Look at the claim every five seconds, as who waits for it does; who has it in the end."""
    holder = claims.take("a")
    for _ in range(0, seconds, 5):
        now["now"] += 5
        holder = claims.take("a")
    return holder


def test_a_claim_from_elsewhere_is_taken_over_when_it_stood_still_for_a_lease(store, now):
    first, second = Claims(store._database, lease=60.0), Claims(store._database, lease=5.0)
    assert first.take("a") is None
    elsewhere(store, "a")
    assert watch(second, now, 60) is not None
    first.beat()
    assert watch(second, now, 60) is not None  # it has moved since
    assert watch(second, now, 10) is None  # its holder's lease counts, not the watcher's
    assert first.lost() == set()
    first.beat()
    assert first.lost() == {"a"}
    assert second.lost() == set()
    assert not first.release("a")  # gives nothing away that is another's
    assert Claims(store._database).take("a") is not None


def test_who_could_not_look_takes_nothing_over(store, now):
    first, second = Claims(store._database, lease=60.0), Claims(store._database)
    first.take("a")
    elsewhere(store, "a")
    watch(second, now, 30)
    now["now"] += 1000  # the server was away, so that the holder could not count either
    assert watch(second, now, 30) is not None


def test_claims_stay_alive_whatever_goes_wrong_with_a_beat(store):
    claims, beats, failed = Claims(store._database, lease=0.2), [], []

    def beat():
        if not failed:
            failed.append(True)
            raise RuntimeError("out of memory")
        beats.append(True)

    claims.beat = beat
    with pytest.warns(UserWarning, match="could not be renewed: out of memory"), claims:
        while len(beats) < 2:
            time.sleep(0.01)


def test_a_process_that_is_hidden_is_not_taken_for_dead(monkeypatch):
    me = holder.this_process()

    def hidden(self, *arguments, **more):
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(holder.Path, "read_text", hidden)
        assert not replace(me, born="1").is_gone()
    assert replace(me, born="1").is_gone()


def test_a_holder_of_this_machine_keeps_its_claims_however_long_it_sleeps(store, now):
    first, second = store.claims(), store.claims()
    assert first.take("a") is None
    for _ in range(3):
        assert second.take("a") is not None
        now["now"] += 10_000.0


@pytest.mark.parametrize("years", [-50, 50])
def test_a_clock_that_jumps_takes_nothing_away(store, monkeypatch, years):
    with store.claims() as first, store.claims() as second:
        first.take("a")
        elsewhere(store, "a")
        assert second.take("a") is not None
        jumped = time.time() + years * 365 * 24 * 3600
        monkeypatch.setattr(time, "time", lambda: jumped)
        monkeypatch.setattr(lines, "now", lambda: f"{2026 + years}-01-01T00:00:00+00:00")
        assert second.take("a") is not None
        record = store.begin("b", {}, kind="tasks", label="b", seed=0, scale="mini", dataset="m")
        store.finish(replace(record, duration_s=2.0))
        assert store.find("b").duration_s == 2.0


def test_claims_are_kept_alive_and_a_server_that_is_away_is_no_end(postgresql):
    place = postgresql.database()
    store = open_store(place, write=True)
    claims = Claims(store._database, lease=0.2)
    with claims:
        claims.take("a")
        before = beats(store)
        while beats(store) < before + 3:
            time.sleep(0.02)
        with pytest.warns(UserWarning, match="answers again"):
            postgresql.stop()
            time.sleep(0.5)
            postgresql.start()
            again = beats(store)
            while beats(store) < again + 3:
                time.sleep(0.02)
        assert claims.lost() == set()


def beats(store):
    return store._database.read(lambda c: c.execute(schema.claims.select()).mappings().one()["beat"])
