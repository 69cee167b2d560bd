"""Kills `sakbench run table7` at random moments, again and again, and compares what it ends with to an undisturbed run.

Two commands share the table, as two machines would. Every few seconds something is killed with SIGKILL: one of the
commands alone, a command with all its processes, or a single worker; now and then a command is asked to stop instead,
and with --postgresql the store's server crashes and comes back. Killed commands are started again, until enough was
killed and the table is whole.

    python benchmarks/faults.py --kills 30 --output /tmp/faults
    python benchmarks/faults.py --kills 20 --output /tmp/faults-pg --postgresql --reference /tmp/faults/undisturbed.db
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from sakbench.store import open_store
from tests import postgresql

KILLS = ("a command alone", "a command with its processes", "a worker")
OTHERS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


class Commands:
    """As many commands at work on one table as are wanted."""

    def __init__(self, table: str, store: str, output: Path, count: int) -> None:
        self.arguments = ["run", table, "--store", store, "--runs", str(output / "runs"), "--jobs", "1"]
        self.log = (output / "commands.log").open("ab")
        self.running: list[subprocess.Popen[bytes]] = []
        self.count = count
        self.codes = Counter[int]()

    def keep_up(self) -> bool:
        """Start what is missing; whether a command has ended by itself, with the table whole."""
        for process in [process for process in self.running if process.poll() is not None]:
            self.running.remove(process)
            self.codes[process.returncode] += 1
            if process.returncode == 0:
                return True
        while len(self.running) < self.count:
            self.running.append(self._start())
        return False

    def finish(self) -> None:
        """Wait for a command that ends by itself."""
        while not self.keep_up():
            time.sleep(0.5)
        for process in self.running:
            self.codes[process.wait()] += 1

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "sakbench", *self.arguments]
        environment = os.environ | {"SAKBENCH_CHECKPOINT_SECONDS": "5"}
        output = {"stdout": self.log, "stderr": self.log, "env": environment}
        return subprocess.Popen(command, start_new_session=True, preexec_fn=_interruptible, **output)


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a script in the background lacks


def strike(kind: str, victim: subprocess.Popen[bytes], chance: random.Random) -> bool:
    """Do it to a command; whether there was anything to do it to."""
    if victim.poll() is not None:
        return False
    if kind == "a worker":
        workers = [p for p in psutil.Process(victim.pid).children(recursive=True) if p.memory_info().rss > 2**28]
        if not workers:
            return False
        chance.choice(workers).kill()
    elif kind == "a command with its processes":
        os.killpg(victim.pid, signal.SIGKILL)
    elif kind == "a command alone":
        victim.kill()
    else:
        victim.send_signal(OTHERS[kind])
    return True


def disturb(commands: Commands, kills: int, chance: random.Random, server: postgresql.Server | None) -> Counter[str]:
    """Kill until there were so many kills or the table is whole; what was done, by kind."""
    done = Counter[str]()
    while sum(done[kind] for kind in KILLS) < kills and not commands.keep_up():
        time.sleep(chance.uniform(3, 30))
        kinds = [*KILLS, *KILLS, *OTHERS, *(["the server"] if server else [])]
        kind = chance.choice(kinds)
        if kind == "the server" and server:
            server.stop()
            time.sleep(chance.uniform(0, 5))
            server.start()
            done[kind] += 1
        else:
            done[kind] += strike(kind, chance.choice(commands.running), chance)
        print(f"{sum(done.values()):3}  {kind}", flush=True)
    return done


def numbers(store: str, table: str) -> pd.Series:
    """The numbers of seed 0's rows of a table."""
    frame = open_store(store, write=False).frame().query("table == @table and seed == 0")
    return frame.set_index(["row", "task"])["value"].sort_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="table7")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--commands", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--reference", default="", help="the store of an undisturbed run (default: one is made first)")
    parser.add_argument("--postgresql", action="store_true", help="a server of its own instead of a SQLite file")
    options = parser.parse_args()
    programs = postgresql.programs()
    if options.postgresql and programs is None:
        parser.error("--postgresql needs a server's programs: apt-get install postgresql")
    options.output.mkdir(parents=True)
    reference = options.reference or str(options.output / "undisturbed.db")
    if not options.reference:
        subprocess.run([sys.executable, "-m", "sakbench", "run", options.table, "--store", reference], check=True)
    server = postgresql.Server(programs) if options.postgresql and programs else None
    try:
        store = server.database() if server else str(options.output / "disturbed.db")
        commands = Commands(options.table, store, options.output, options.commands)
        began = time.monotonic()
        done = disturb(commands, options.kills, random.Random(options.seed), server)
        commands.finish()
        report(store, reference, options, done, commands.codes, time.monotonic() - began)
    finally:
        if server:
            server.close()


def report(
    store: str, reference: str, options: argparse.Namespace, done: Counter[str], codes: Counter[int], seconds: float
) -> None:
    """Print what was done and what was lost; exits with 1 if anything was."""
    there = open_store(store, write=False)
    expected, found = numbers(reference, options.table), numbers(store, options.table)
    ends = Counter(
        event.kind for run in there.runs()["id"] for event in there.history(run) if event.kind in ("finished", "died")
    )
    runs = len(there.runs())
    place = ["--store", store, "--runs", str(options.output / "runs")]
    check = [sys.executable, "-m", "sakbench", "store", "check", *place]
    checked = subprocess.run(check, capture_output=True, text=True, check=False)
    lost = len(expected.index.difference(found.index))
    other = int((expected.reindex(found.index) != found).sum())
    strikes = ", ".join(f"{count} x {kind}" for kind, count in done.items())
    print(f"{options.table} in {seconds / 60:.1f} min; {strikes}")
    print(f"exit codes of the commands: {dict(codes)}")
    print(f"{runs} runs, finished {ends['finished']} times; {ends['died']} went on in the same command")
    print(f"{len(expected)} numbers: {lost} lost, {other} other than undisturbed")
    print(f"store check: exit code {checked.returncode}, {checked.stdout.strip()}")
    sys.exit(bool(lost or other or ends["finished"] != runs or checked.returncode))


if __name__ == "__main__":
    main()
