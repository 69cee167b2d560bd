"""The commands. This file parses, calls and prints; a command imports torch or pandas only when it is called."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sakbench import __version__
from sakbench.errors import INTERRUPTED, UserError

DEFAULT_STORE = Path("results/sakbench.db")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `sakbench` command. Exits with 0, with 2 after a `UserError`, with 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a pipe may know no Δ
    try:
        options = _parser().parse_args(arguments)
        code = options.call(options)
        sys.stdout.flush()
    except UserError as error:
        print(f"sakbench: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    raise SystemExit(code)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints look like the program's other errors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. `{self.prog} --help` lists what there is.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sakbench", description="What is a vision foundation model good and bad at, and can a student keep it all?"
    )
    parser.add_argument("--version", action="version", version=f"sakbench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="train and evaluate what a table of the paper needs, and print it")
    run.add_argument(
        "experiment", metavar="TABLE", help="table3, table4, table7 or table12 (`sakbench ls` tells about them)"
    )
    run.add_argument("--scale", default="mini", help="mini (default): rendered scenes and small models, no download")
    run.add_argument("--seeds", type=_positive, default=1, metavar="N", help="train with seeds 0 to N-1 (default 1)")
    run.add_argument("--rows", default="", metavar="TEXT", help="only the rows whose name contains TEXT")
    run.add_argument("--jobs", type=_positive, metavar="N", help="runs at the same time (default: one per core)")
    run.add_argument(
        "--protocol",
        default="",
        metavar="NAME",
        help="how boundary maps are prepared for odsF: paper (default), invpt or plain; no run is trained twice for it",
    )
    _store_option(run)
    _json_option(run)
    run.set_defaults(call=_run)

    show = commands.add_parser("show", help="print a stored table, or everything about one run")
    show.add_argument(
        "what", metavar="TABLE|RUN", help="table7, table7-invpt (other protocol), or a run's first digits"
    )
    _store_option(show)
    _json_option(show)
    show.set_defaults(call=_show)

    ls = commands.add_parser("ls", help="list the tables and the runs in the store")
    _store_option(ls)
    _json_option(ls)
    ls.set_defaults(call=_ls)

    _score_commands(commands.add_parser("score", help="score predictions that any other code saved, as PNG files"))

    export = commands.add_parser("export", help="write the store's content for other programs")
    export.add_argument(
        "what",
        choices=("leaderboard", "results"),
        help="leaderboard: measured and published rows; results: everything, as JSON lines",
    )
    form = export.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="comma-separated values (the leaderboard's default)")
    _json_option(form)
    export.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")
    _store_option(export)
    export.set_defaults(call=_export)

    verify = commands.add_parser("verify", help="recompute every Δm and μ/σ that the paper prints")
    _json_option(verify)
    verify.set_defaults(call=_verify)

    pretrain = commands.add_parser("pretrain", help="train mini's teachers anew (about three hours of one core)")
    pretrain.add_argument("names", nargs="*", metavar="BACKBONE", help="which (default: all), e.g. mini_vit_b.clip")
    pretrain.add_argument(
        "--output",
        type=Path,
        default=Path("weights"),
        metavar="DIR",
        help="where the weights and cards go (default: weights)",
    )
    pretrain.set_defaults(call=_pretrain)
    return parser


def _score_commands(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", required=True)
    boundary = tasks.add_parser("boundary", help="odsF, OIS and AP of boundary maps of 0 to 255")
    boundary.add_argument(
        "--max-dist",
        type=float,
        default=0.0075,
        metavar="SHARE",
        help="tolerance as a share of the image's diagonal: 0.0075 for PASCAL-Context (default), 0.011 for NYUD-v2",
    )
    boundary.add_argument(
        "--mode",
        default="exact",
        help="exact (default): the maximum matching; seism: imitates MATLAB's solver, which loses some pairs",
    )
    boundary.add_argument("--seed", type=_whole, default=0, metavar="N", help="of mode seism's losses (default 0)")
    boundary.add_argument(
        "--protocol",
        default="paper",
        metavar="NAME",
        help="paper (default): NMS of radius 4, thresholds by >=; invpt: radius 1, >; plain: no NMS",
    )
    boundary.add_argument(
        "--truth-as",
        default="boundaries",
        metavar="KIND",
        help="what a truth's file holds: boundaries (default), or labels, whose edges are the boundaries "
        "(what SEISM does, for PASCAL-Context with label maps, for NYUD-v2 with boundary maps)",
    )
    boundary.add_argument("--jobs", type=_positive, metavar="N", help="images at the same time (default: one per core)")
    boundary.add_argument("--plot", type=Path, metavar="FILE", help="write the precision-recall curve there")
    boundary.set_defaults(call=_score_boundary)
    abouts = {
        "semseg": "mIoU of label maps",
        "parsing": "mIoU of label maps",
        "saliency": "maxF of maps of 0 to 255",
        "normals": "mErr of RGB maps of (n + 1) * 127.5, black being none, or arrays (h, w, 3) in .npy",
        "depth": "RMSE of maps of 8 or 16 bits, or arrays in metres in .npy",
    }
    for task, about in abouts.items():
        one = tasks.add_parser(task, help=about)
        if task in ("semseg", "parsing"):
            classes = {"semseg": 21, "parsing": 7}[task]
            how_many = f"2 to 254, background included (default {classes})"
            one.add_argument("--classes", type=_positive, metavar="N", default=classes, help=how_many)
        if task == "saliency":
            one.add_argument(
                "--truth-as",
                default="grey",
                metavar="KIND",
                help="grey (default): above 127; labels: 0, 1, 255 ignored",
            )
        if task == "depth":
            one.add_argument(
                "--depth-unit", type=float, default=0.001, metavar="M", help="metres per step of a PNG (default 0.001)"
            )
        one.set_defaults(call=_score_dense, task=task)
    for one in tasks.choices.values():
        one.add_argument("--predictions", type=Path, required=True, metavar="DIR", help="one file per image")
        several = ", or a folder per image with a file per annotator" if one is boundary else ""
        one.add_argument("--truth", type=Path, required=True, metavar="DIR", help=f"files of the same names{several}")
        _json_option(one)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _store_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        type=Path,
        default=DEFAULT_STORE,
        metavar="FILE",
        help=f"results database (default {DEFAULT_STORE}); a .jsonl export can be read",
    )


def _json_option(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    from sakbench.report.commands import run

    return run(
        options.experiment,
        options.scale,
        options.seeds,
        options.jobs,
        options.store,
        rows=options.rows,
        protocol=options.protocol,
        as_json=options.json,
    )


def _show(options: argparse.Namespace) -> int:
    from sakbench.report.commands import show

    show(options.what, options.store, as_json=options.json)
    return 0


def _ls(options: argparse.Namespace) -> int:
    from sakbench.report.commands import ls

    # Before the first run there is no default store, which is no mistake; a file that the user names must be there.
    nothing_yet = options.store == DEFAULT_STORE and not options.store.exists()
    ls(None if nothing_yet else options.store, as_json=options.json)
    return 0


def _export(options: argparse.Namespace) -> int:
    from sakbench.report.commands import export

    export(options.what, options.store, options.output, as_json=options.json)
    return 0


def _score_boundary(options: argparse.Namespace) -> int:
    from sakbench.report.scores import score_boundary
    from sakbench.scoring.boundary import Settings

    settings = Settings(options.max_dist, options.mode, truth_as=options.truth_as, seed=options.seed)
    score_boundary(
        options.predictions,
        options.truth,
        settings,
        options.protocol,
        jobs=options.jobs,
        plot=options.plot,
        as_json=options.json,
    )
    return 0


def _score_dense(options: argparse.Namespace) -> int:
    from sakbench.report.scores import score_dense

    score_dense(
        options.task,
        options.predictions,
        options.truth,
        classes=getattr(options, "classes", None),
        saliency_as=getattr(options, "truth_as", "grey"),
        depth_unit=getattr(options, "depth_unit", 0.001),
        as_json=options.json,
    )
    return 0


def _verify(options: argparse.Namespace) -> int:
    from sakbench.report.commands import verify

    verify(as_json=options.json)
    return 0


def _pretrain(options: argparse.Namespace) -> int:
    from sakbench.report.commands import pretrain

    pretrain(options.names, options.output)
    return 0
