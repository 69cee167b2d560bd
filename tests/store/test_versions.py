"""Stores of other versions: older ones are brought up to date without a loss, newer ones are refused."""

import sqlite3
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sakbench.errors import UserError
from sakbench.store import Measurement, open_store, schema, versions
from sakbench.store.location import locate
from sakbench.store.opening import upgrade_store
from sakbench.store.versions import HEAD

RUN = {"kind": "tasks", "label": "probe clip", "seed": 0, "scale": "mini", "dataset": "miniworld"}
PLACE = {"scale": "mini", "dataset": "miniworld", "seed": 0}

# The tables of the first stores, as sakbench made them before it had migrations.
FIRST = """
CREATE TABLE meta ("key" VARCHAR NOT NULL PRIMARY KEY, value VARCHAR NOT NULL);
CREATE TABLE runs (id VARCHAR NOT NULL PRIMARY KEY, kind VARCHAR NOT NULL, label VARCHAR NOT NULL, spec JSON NOT NULL,
    seed INTEGER NOT NULL, scale VARCHAR NOT NULL, dataset VARCHAR NOT NULL, status VARCHAR NOT NULL, started VARCHAR,
    finished VARCHAR, duration_s FLOAT NOT NULL, peak_memory_mb FLOAT, git_commit VARCHAR, versions JSON NOT NULL,
    machine JSON NOT NULL, gpu VARCHAR, checkpoint VARCHAR, notes JSON NOT NULL);
CREATE TABLE metrics (run VARCHAR NOT NULL REFERENCES runs (id), task VARCHAR NOT NULL, metric VARCHAR NOT NULL,
    value FLOAT NOT NULL, unit VARCHAR NOT NULL, higher_is_better BOOLEAN, protocol VARCHAR NOT NULL,
    PRIMARY KEY (run, task));
CREATE TABLE entries ("table" VARCHAR NOT NULL, "row" VARCHAR NOT NULL, scale VARCHAR NOT NULL,
    dataset VARCHAR NOT NULL, seed INTEGER NOT NULL, task VARCHAR NOT NULL, position INTEGER NOT NULL,
    baseline BOOLEAN NOT NULL, run VARCHAR NOT NULL REFERENCES runs (id),
    PRIMARY KEY ("table", "row", scale, dataset, seed, task));
INSERT INTO meta VALUES ('schema', '1');
INSERT INTO runs VALUES ('abc', 'tasks', 'probe clip', '{"γ": 1.0}', 0, 'mini', 'miniworld', 'done',
    '2026-11-01T10:00:00+00:00', '2026-11-01T10:01:00+00:00', 60.5, 900, 'c0ffee', '{"torch": "2"}', '{"cores": 2}',
    NULL, 'runs/abc/model.safetensors', '{}');
INSERT INTO metrics VALUES ('abc', 'semseg', 'mIoU', 26.125, '%', 1, 'test');
INSERT INTO entries VALUES ('table12', 'CLIP Freeze', 'mini', 'miniworld', 0, 'semseg', 1, 0, 'abc');
"""


def first(tmp_path, postgresql, kind):
    if kind == "sqlite":
        path = tmp_path / "old.db"
        with sqlite3.connect(path) as connection:
            connection.executescript(FIRST)
        connection.close()
        return str(path)
    place = postgresql.database()
    postgresql.execute(
        place, FIRST.replace("'%', 1, 'test'", "'%', true, 'test'").replace("1, 0, 'abc'", "1, false, 'abc'")
    )
    return place


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_old_store_is_brought_up_to_date_and_loses_nothing(tmp_path, postgresql, kind):
    place = first(tmp_path, postgresql, kind)
    for write in (True, False):
        with pytest.raises(UserError, match="sakbench store upgrade --store"):
            open_store(place, write=write)
    assert upgrade_store(locate(place)) == ("0001", HEAD)
    assert upgrade_store(locate(place)) == (HEAD, HEAD)
    store = open_store(place, write=True)
    record = store.find("abc")
    assert (record.spec, record.duration_s, record.git_commit) == ({"γ": 1.0}, 60.5, "c0ffee")
    assert record.metrics == (Measurement("semseg", "mIoU", 26.125, "%", True, "test"),)
    assert record.checkpoint == "abc/model.safetensors"
    assert store.frame()[["table", "row", "value"]].to_numpy().tolist() == [["table12", "CLIP Freeze", 26.125]]
    store.finish(replace(store.begin("def", {}, **RUN), metrics=record.metrics))
    assert store.find("def").metrics == record.metrics


def test_migrations_make_the_tables_that_the_code_expects(place):
    store = open_store(place, write=True)
    differences = store._database.read(lambda c: compare_metadata(MigrationContext.configure(c), schema.metadata))
    assert differences == []


def test_the_last_migration_is_the_version_that_the_code_asks_for():
    config = versions._config()
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


@pytest.mark.parametrize("write", [True, False])
def test_a_store_of_a_newer_version(place, write):
    store = open_store(place, write=True)
    store._database.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '0099'"))
    with pytest.raises(UserError, match="schema version 0099"):
        open_store(place, write=write)


def test_an_upgrade_that_fails_changes_nothing(tmp_path, postgresql, monkeypatch):
    place = first(tmp_path, postgresql, "sqlite")
    before = dump(place)
    with sqlite3.connect(place) as connection:
        connection.execute("CREATE TABLE claims (x)")  # in the way of the last table that is made
    connection.close()
    with pytest.raises(Exception, match="claims"):
        upgrade_store(locate(place))
    with sqlite3.connect(place) as connection:
        connection.execute("DROP TABLE claims")
    connection.close()
    assert dump(place) == before
    assert upgrade_store(locate(place)) == ("0001", HEAD)


def dump(place):
    connection = sqlite3.connect(place)
    content = list(connection.iterdump())
    connection.close()
    return content


def test_there_is_nothing_to_upgrade(tmp_path):
    for place, words in {"a.jsonl": "nothing to upgrade", "a.db": "there is no store"}.items():
        with pytest.raises(UserError, match=words):
            upgrade_store(locate(tmp_path / place))
    (tmp_path / "e.db").touch()
    with pytest.raises(UserError, match="is empty"):
        upgrade_store(locate(tmp_path / "e.db"))
