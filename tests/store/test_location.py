"""What may be named as a store, and that no password is ever told."""

import pytest

from sakbench.errors import UserError
from sakbench.store import is_there, open_store
from sakbench.store.location import locate, without_passwords

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("results/a.db", "sqlite", "results/a.db"),
        ("a.jsonl", "export", "a.jsonl"),
        ("postgresql://me@host/sak", "postgresql", "postgresql://me@host/sak"),
        (f"postgresql+psycopg://me:{SECRET}@host:5433/sak", "postgresql", "postgresql+psycopg://me:***@host:5433/sak"),
        (f"postgresql://host/sak?password={SECRET}", "postgresql", "postgresql://:***@host/sak"),
        (f"postgresql://me:a%40{SECRET}@host/sak?sslmode=require", "postgresql", "postgresql://me:***@host/sak"),
    ],
)
def test_what_can_be_a_store(text, kind, shown):
    place = locate(text)
    assert (place.kind, str(place)) == (kind, shown)
    assert SECRET not in repr(place)


@pytest.mark.parametrize(
    "text",
    [
        *("results.csv", "results", ""),
        f"mysql://me:{SECRET}@host/sak",
        f"postgresql://me:{SECRET}@host",
        f"postgresql://me:{SECRET}@host/",
        f"postgresql://me:x/{SECRET}@host/sak",
        f"postgresql://me:12#{SECRET}@host/sak",
        f"postgresql://me:12?{SECRET}@host/sak",
        f"postgresql://me:{SECRET}@host:many/sak",
        f"postgresql://me:{SECRET}@[::1/sak",
        f"postgresql://me:x@{SECRET}@host/sak",
        f"postgresql:// me:{SECRET}@/",
    ],
)
def test_what_cannot(text):
    with pytest.raises(UserError, match=r"\.db") as caught:
        open_store(text, write=True)
    assert SECRET not in str(caught.value) and "12" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://me:{SECRET}@host/sak",
        f"--store=postgresql+psycopg://me:{SECRET}@host/sak",
        f"postgresql://me:{SECRET} with#odd/@signs:@host/sak",
        f"postgresql://host/sak?password={SECRET}&sslmode=require",
    ],
)
def test_a_command_is_told_without_its_password(url):
    told = without_passwords(["sakbench", "run", "table7", "--store", url, "--seeds", "3"])
    assert SECRET not in told and "***" in told
    assert told.startswith("sakbench run table7 --store") and told.endswith("--seeds 3") and "host/sak" in told


def test_a_command_without_a_password_is_told_as_it_is():
    for store in ("a.db", "postgresql://me@host/sak"):
        assert without_passwords(["sakbench", "ls", "--store", store]) == f"sakbench ls --store {store}"


def test_whether_there_is_one(postgresql, tmp_path):
    for text in (postgresql.database(), tmp_path / "a.db"):
        assert not is_there(locate(text))
        open_store(text, write=True)
        assert is_there(locate(text))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("/store_", "/nothing_"), "does not exist"),
        (lambda url: url.replace("tester@", f"stranger:{SECRET}@"), "refuses the user"),
        (lambda url: url.rpartition(":")[0] + f":1/{url.rpartition('/')[2]}", "does not answer"),
        (lambda url: url + "?flavour=mint", "option"),
    ],
)
@pytest.mark.parametrize("write", [True, False])
def test_a_server_that_does_not_let_us_in(postgresql, change, words, write):
    with pytest.raises(UserError, match=words) as caught:
        open_store(change(postgresql.database()), write=write)
    assert SECRET not in str(caught.value) and "\n" not in str(caught.value)


def test_another_programs_database(postgresql):
    place = postgresql.database()
    with pytest.raises(UserError, match="it is empty"):
        open_store(place, write=False)
    postgresql.execute(place, "CREATE TABLE runs (id text)")
    with pytest.raises(UserError, match="is not a sakbench store"):
        open_store(place, write=True)


def test_a_database_that_may_only_be_read(postgresql):
    place = postgresql.database()
    open_store(place, write=True)
    postgresql.execute(place, "CREATE ROLE reader LOGIN")
    postgresql.execute(place, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    store = open_store(place.replace("tester@", "reader@"), write=False)
    assert store.runs().empty
    writer = open_store(place.replace("tester@", "reader@"), write=True)
    with pytest.raises(UserError, match="by this user"):
        writer.begin("a", {}, kind="tasks", label="a", seed=0, scale="mini", dataset="m")


def test_a_transaction_goes_on_where_the_connection_broke(postgresql):
    place = postgresql.database()
    store = open_store(place, write=True)
    broken = []

    def work(connection):
        if not broken:
            broken.append(True)
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        return connection.exec_driver_sql("SELECT 42").scalar()

    with pytest.warns(UserWarning, match="does not answer"):
        assert store._database.write(work) == 42


def test_patience_ends(postgresql):
    store = open_store(postgresql.database(), write=True)
    postgresql.stop()
    try:
        with pytest.raises(UserError, match="does not answer"):
            store._database.write(lambda connection: None, patience=0.0)
    finally:
        postgresql.start()
