"""A PostgreSQL server of the tests' own: Debian's programs, data in a temporary folder, on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
from itertools import count
from pathlib import Path

NOBODY = 65534  # the server refuses to run as root


def programs() -> Path | None:
    """The folder of initdb and pg_ctl, newest first; None if PostgreSQL is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


class Server:
    """A server that can be stopped, killed and started again; its databases are made by `database`."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="sakbench-postgresql-"))
        self.names = count()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        if os.getuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        self._call("initdb", "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._call("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; immediately, as a crash would."""
        self._call("pg_ctl", "-w", "-m", mode, "stop")

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self) -> str:
        """The URL of a new database."""
        import psycopg

        name = f"store_{next(self.names)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name).replace("postgresql://", "postgresql+psycopg://")

    def url(self, database: str) -> str:
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}"

    def execute(self, database: str, command: str) -> None:
        """Run a command of SQL in the database of a URL."""
        import psycopg

        with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(command)

    def _call(self, program: str, *arguments: str) -> None:
        as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        # Into a file: a server that inherits a pipe keeps whoever reads it waiting.
        with (self.folder / f"{program}.out").open("ab") as output:
            subprocess.run(
                [str(self.programs / program), "-D", str(self.folder / "data"), *arguments],
                check=True,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                **as_nobody,
            )
