"""What tests of several executors share."""

import pytest


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The numbers of the small jobs (see `in_memory`) where nothing is killed, by run and task."""
    from tests.runs.test_executors import ended, read, start

    folder = tmp_path_factory.mktemp("undisturbed")
    assert ended(start(folder)) == 0
    return read(folder, "numbers")
