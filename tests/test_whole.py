"""What is written is there whole; a device or a pipe is written to."""

import os
import subprocess

import pytest

from sakbench import whole


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        whole.write_text(pipe, "a table")
        assert reader.communicate(timeout=60)[0] == "a table"
    assert pipe.is_fifo()


def test_what_was_there_stays_where_writing_fails(tmp_path, monkeypatch):
    file = tmp_path / "table.csv"
    file.write_text("before")
    monkeypatch.setattr(whole, "sync", lambda path: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="full"):
        whole.write_text(file, "after")
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]
