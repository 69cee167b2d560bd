"""The commands. This file parses, calls and prints; a command imports torch or pandas only when it is called."""

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sakbench import __version__
from sakbench.errors import INTERRUPTED, UserError
from sakbench.store.location import DEFAULT as DEFAULT_STORE
from sakbench.store.location import hide_passwords, without_passwords

if TYPE_CHECKING:
    from sakbench.report.running import Request
    from sakbench.runs.scales import Scale

_MOST = 1000  # seeds or processes


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `sakbench` command. Exits with 0, with 2 after a `UserError`, with 130 after Ctrl-C."""
    warnings.formatwarning = _plain_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a pipe may know no Δ
    try:
        options = _parser().parse_args(arguments)
        options.arguments = sys.argv[1:] if arguments is None else list(arguments)
        code = options.call(options)
        sys.stdout.flush()
    except UserError as error:
        print(f"sakbench: {_in_a_line(str(error))}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    raise SystemExit(code)


_usual_warning = warnings.formatwarning


def _plain_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """sakbench's own warnings as sentences; those of libraries as they are."""
    if filename.startswith(str(Path(__file__).parent)):
        return f"sakbench: {_in_a_line(str(message))}\n"
    return _usual_warning(message, category, filename, lineno, line)


def _in_a_line(sentence: str) -> str:
    """What a user typed may stand in it: control characters are spelled, and passwords in URLs hidden."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in hide_passwords(sentence))


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints look like the program's other errors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. `{self.prog} --help` lists what there is.")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> object:
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            self.error(f"argument {action.option_strings[0]}: '--' is no value")  # argparse would give an empty list
        return super()._get_values(action, arg_strings)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sakbench", description="What is a vision foundation model good and bad at, and can a student keep it all?"
    )
    parser.add_argument("--version", action="version", version=f"sakbench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="train and evaluate what a table of the paper needs, and print it")
    run.add_argument(
        "experiment", metavar="TABLE", help="table7 and the others that `sakbench ls` lists, or a file.toml of your own"
    )
    _training_options(run)
    run.add_argument("--rows", default="", metavar="TEXT", help="the row of that name, or those whose name contains it")
    _weights_option(run)
    run.add_argument(
        "--protocol",
        default="",
        metavar="NAME",
        help="how boundary maps are prepared for odsF: paper (default), invpt or plain; no run is trained twice for it",
    )
    run.add_argument(
        "--language",
        default="",
        metavar="NAME",
        help="table28 at scale paper: the language model, a folder of transformers' files or a name of the Hugging "
        "Face hub (default: lmsys/vicuna-7b-v1.5)",
    )
    run.set_defaults(call=_run)

    probe = commands.add_parser("probe", help="the bias profile of any encoder, beside DINOv2's, CLIP's and SAM's")
    probe.add_argument("backbone", metavar="NAME", help="timm/NAME.TAG, or a name that `sakbench zoo` lists")
    _training_options(probe)
    probe.add_argument("--weights", type=_path, metavar="FILE", help="its weights, if they are in a local file")
    probe.set_defaults(call=_probe)

    _pairs_commands(commands.add_parser("pairs", help="counterfactual pairs (cats turned into dogs): make, look at"))

    zoo = commands.add_parser("zoo", help="list the backbones: what they are, how they were trained, where they are")
    _json_option(zoo)
    zoo.set_defaults(call=_zoo)

    data_sets = commands.add_parser("data", help="check the real data sets, and tell where to get them")
    data = data_sets.add_subparsers(metavar="COMMAND", required=True)
    check = data.add_parser("check", help="verify layout, numbers, sizes and files of the data sets in a folder")
    check.add_argument("folder", type=_path, metavar="DIR", help="the folder that holds them, or one of them")
    _json_option(check)
    check.set_defaults(call=_data_check)

    account = commands.add_parser("account", help="compute the paper's parameters and MACs from the models")
    account.add_argument(
        "--table", action="append", default=[], metavar="TABLE", help="only this table; again for more"
    )
    _json_option(account)
    account.set_defaults(call=_account)

    bench = commands.add_parser("bench", help="measure the speed of students and training, beside a plain formulation")
    bench.add_argument(
        "what",
        nargs="*",
        metavar="WHAT",
        help="inference, student, stage1, stage2, probe, evaluation, data (default: all)",
    )
    bench.add_argument("--scale", default="mini", help="whose models: mini (default) or paper")
    bench.add_argument("--model", default="", metavar="SIZE", help="scale paper: ViT-S, ViT-B (default) or ViT-L")
    for option, what in {
        "images": "of a step (default: the paper's on one GPU; mini's)",
        "teachers": "of the committee, the first so many (default 3)",
        "tasks": "the first so many (default: all)",
    }.items():
        bench.add_argument(f"--{option}", type=_numbers, default=[], metavar="N[,N]", help=f"{what}; several in turn")
    bench.add_argument(
        "--size", type=_sizes, default=[], metavar="HxW[,HxW]", help="scale paper: of the images; several in turn"
    )
    bench.add_argument("--precision", choices=("fp32", "bf16"), help="default: bf16 on a GPU, fp32 on the CPU")
    bench.add_argument("--device", default="", metavar="DEVICE", help="cuda or cpu (default: a GPU where there is one)")
    bench.add_argument("--rounds", type=_positive, default=5, metavar="N", help="timings of each, in turn (default 5)")
    bench.add_argument("--random-weights", action="store_true", help="download nothing; speed does not depend on them")
    _json_option(bench)
    bench.set_defaults(call=_bench)

    predict = commands.add_parser("predict", help="write each task's picture of some images")
    predict.add_argument(
        "checkpoint", type=_path, metavar="CHECKPOINT", help="a run's folder, or a file that the authors released"
    )
    predict.add_argument("images", type=_path, nargs="+", metavar="IMAGE", help="images, or folders of them")
    predict.add_argument(
        "--output", type=_path, default=Path("predictions"), metavar="DIR", help="where to (default: predictions)"
    )
    predict.add_argument(
        "--size", default="", metavar="HxW", help="the network's input (default: the model's own), e.g. 448x576"
    )
    predict.add_argument("--task", action="append", default=[], metavar="TASK", help="only this task; again for more")
    _json_option(predict)
    predict.set_defaults(call=_predict)

    show = commands.add_parser("show", help="print a stored table, or everything about one run")
    show.add_argument(
        "what", metavar="TABLE|RUN", help="table7, table7-invpt (other protocol), or a run's first digits"
    )
    show.add_argument("--scale", default="", help="of a table (default: the store's first)")
    show.add_argument("--dataset", default="", metavar="NAME", help="of a table (default: the scale's first)")
    _store_option(show)
    _json_option(show)
    show.set_defaults(call=_show)

    compare = commands.add_parser("compare", help="by how much one row of a stored table is better than another")
    compare.add_argument("table", metavar="TABLE", help="a table in the store, e.g. table7")
    compare.add_argument("rows", nargs=2, metavar="ROW", help="two of its rows: the second is compared with the first")
    compare.add_argument(
        "--draws",
        type=_positive,
        default=1000,
        metavar="N",
        help="of the bootstrap over images (default 1000)",
    )
    compare.add_argument(
        "--runs",
        type=_path,
        metavar="DIR",
        help="where the runs left their images' sums (default: runs, beside the store)",
    )
    compare.set_defaults(call=_compare)
    routers = commands.add_parser("routers", help="which gates of a table's students differ from uniform beyond noise")
    routers.add_argument("table", metavar="TABLE", help="a table in the store, e.g. table7")
    routers.add_argument("--row", default="", metavar="ROW", help="of that row alone (default: all with routers)")
    routers.set_defaults(call=_routers)
    for one in (compare, routers):
        one.add_argument("--scale", default="", help="of the table (default: the store's first)")
        one.add_argument("--dataset", default="", metavar="NAME", help="of the table (default: the scale's first)")
        _store_option(one)
        _json_option(one)

    ls = commands.add_parser("ls", help="list the tables and the runs in the store")
    _store_option(ls)
    _json_option(ls)
    ls.set_defaults(call=_ls)

    _score_commands(commands.add_parser("score", help="score predictions that any other code saved, as PNG files"))

    repeat = commands.add_parser("repeat", help="do a stored run once more, from nothing, and compare its numbers")
    repeat.add_argument("run", metavar="RUN", help="the first digits of its id, as `sakbench ls` lists it")
    repeat.add_argument(
        "--output",
        type=_path,
        metavar="DIR",
        help="folder of what is trained for it (default: results/repeated/RUN); what is there is not trained again",
    )
    _weights_option(repeat)
    _data_option(repeat)
    _execution_options(repeat)
    _store_option(repeat)
    _json_option(repeat)
    repeat.set_defaults(call=_repeat)

    _store_commands(commands.add_parser("store", help="move results between stores, and check that they are whole"))

    export = commands.add_parser("export", help="write the store's content for other programs")
    export.add_argument("what", choices=("leaderboard",), help="leaderboard: measured and published rows")
    form = export.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="comma-separated values (the default)")
    _json_option(form)
    export.add_argument("--output", type=_path, metavar="FILE", help="write there instead of printing")
    _store_option(export)
    export.set_defaults(call=_export)

    report = commands.add_parser("report", help="write the store as one HTML page: tables, bias profiles, provenance")
    report.add_argument(
        "--output", type=_path, default=Path("report.html"), metavar="FILE", help="the page (default: report.html)"
    )
    _store_option(report)
    report.set_defaults(call=_report)

    verify = commands.add_parser("verify", help="recompute every Δm and μ/σ that the paper prints")
    _json_option(verify)
    verify.set_defaults(call=_verify)

    pretrain = commands.add_parser("pretrain", help="train mini's teachers anew (about three hours of one core)")
    pretrain.add_argument("names", nargs="*", metavar="BACKBONE", help="which (default: all), e.g. mini_vit_b.clip")
    pretrain.add_argument(
        "--output",
        type=_path,
        default=Path("weights"),
        metavar="DIR",
        help="where the weights and cards go (default: weights)",
    )
    pretrain.set_defaults(call=_pretrain)
    return parser


def _pairs_commands(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    make = what.add_parser("make", help="turn the objects of one class into another, same shape and pose")
    make.add_argument(
        "source",
        metavar="SOURCE",
        help="miniworld: exact pairs, rendered; pascal-context; or a folder with images/ and masks/ (PNG)",
    )
    make.add_argument(
        "--output", type=_path, default=Path("pairs"), metavar="DIR", help="where to (default: pairs); goes on there"
    )
    make.add_argument("--old", default="cat", metavar="CLASS", help="what is to be changed (default: cat)")
    make.add_argument("--new", default="dog", metavar="CLASS", help="into what (default: dog)")
    make.add_argument("--count", type=_few, metavar="N", help="pairs (default: 1; miniworld 120)")
    _data_option(make)
    make.add_argument("--split", default="", metavar="NAME", help="train or test (default); miniworld has val, too")
    make.add_argument(
        "--label", type=_whole, metavar="N", help="a folder's masks: the value of the class (default: all but 0)"
    )
    make.add_argument(
        "--background", type=_path, metavar="PATH", help="an image, or a folder of them (pascal-context has its own)"
    )
    make.add_argument(
        "--place",
        action="append",
        default=[],
        metavar="SIDE@X,Y",
        help="where an object goes, in shares of the picture: longer side, centre; again for each (default: four)",
    )
    make.add_argument("--side", type=_positive, metavar="N", help="pixels of the square pictures (default 512)")
    make.add_argument("--control", default="edges", metavar="KIND", help="what is kept: edges (default) or depth")
    for option, about in {
        "base": "the diffusion model (default: Stable Diffusion 1.5)",
        "controlnet": "the ControlNet (default: that of SD 1.5 for the control)",
        "detector": "the network of --control depth (default: DPT hybrid)",
        "judge": "the CLIP that is asked what is to be seen; none: nobody (default: ViT-L, if it is in the cache)",
    }.items():
        make.add_argument(f"--{option}", default="", metavar="MODEL", help=f"{about}: a folder, or NAME@COMMIT")
    make.add_argument("--prompt", default="", metavar="TEXT", help="default: a photo of a CLASS")
    make.add_argument("--seed", type=_whole, metavar="N", help="of the first draw (default 0)")
    make.add_argument("--attempts", type=_few, metavar="N", help="draws of an object until one passes (default 4)")
    make.add_argument("--steps", type=_few, metavar="N", help="denoising steps (default 30)")
    make.add_argument("--device", default="", metavar="DEVICE", help="cuda or cpu (default: a GPU where there is one)")
    _json_option(make)
    make.set_defaults(call=_pairs_make)

    probe = what.add_parser("probe", help="norm maps, their change and segmentations of frozen models (Figure 6)")
    probe.add_argument("pairs", metavar="PAIRS", help="a folder that `pairs make` has made, or miniworld")
    probe.add_argument(
        "--models",
        type=_words,
        default=[],
        metavar="NAME[,NAME]",
        help="ViT, DINOv2, CLIP, SAM (the default), others that `sakbench zoo` lists, or timm/NAME.TAG",
    )
    probe.add_argument(
        "--no-segmentation", action="store_true", help="norms alone: no heads are asked, and none trained"
    )
    probe.add_argument("--output", type=_path, metavar="FILE", help="the figure (default: figure.png with the pairs)")
    _training_options(probe)
    _weights_option(probe)
    probe.set_defaults(call=_pairs_probe)


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
    boundary.add_argument("--jobs", type=_few, metavar="N", help="images at the same time (default: one per core)")
    boundary.add_argument("--plot", type=_path, metavar="FILE", help="write the precision-recall curve there")
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
        one.add_argument("--predictions", type=_path, required=True, metavar="DIR", help="one file per image")
        several = ", or a folder per image with a file per annotator" if one is boundary else ""
        one.add_argument("--truth", type=_path, required=True, metavar="DIR", help=f"files of the same names{several}")
        _json_option(one)


def _training_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scale",
        default="mini",
        help="mini (default): rendered scenes and small models, no download; paper: the paper's own, on GPUs",
    )
    parser.add_argument(
        "--seeds",
        type=_few,
        metavar="N",
        help="train with seeds 0 to N-1 (default: what the table's file says; 3 in mini's headline tables, else 1)",
    )
    _data_option(parser)
    parser.add_argument(
        "--dataset",
        default="",
        metavar="NAME",
        help="pascal-context or nyud-v2; in mini miniworld-pascal or -nyud (default: what the table is about)",
    )
    parser.add_argument(
        "--norm",
        default="paper",
        metavar="KIND",
        help="paper (default): every model sees images normalised by ImageNet's statistics; native: by its own",
    )
    parser.add_argument(
        "--sam-padding",
        default="crop",
        metavar="KIND",
        help="crop (default): the padding of SAM's square input is cut from its maps; stretch: kept, as by the authors",
    )
    parser.add_argument(
        "--noise",
        default="position",
        metavar="KIND",
        help="of the routers, in training: position (default): drawn at every patch, as by the authors; "
        "global: once for an image, as the paper says",
    )
    parser.add_argument(
        "--precision",
        default="fp32",
        metavar="KIND",
        help="fp32 (default), as the authors train; bf16: students and teachers multiply in bfloat16, while weights, "
        "losses and the optimiser keep float32",
    )
    parser.add_argument(
        "--nyud-truth",
        default="seism",
        metavar="KIND",
        help="NYUD-v2's true boundaries: seism (default): lines doubled, as in published scores; clean: as they are",
    )
    _execution_options(parser)
    _runs_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be done and what it takes")
    _store_option(parser)
    _json_option(parser)


def _execution_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gpus", type=_whole, metavar="N", help="scale paper: how many (default: all); 0 trains on the CPU"
    )
    parser.add_argument(
        "--images-per-gpu",
        type=_positive,
        default=0,
        metavar="N",
        help="at most so many at once; the rest of a batch is accumulated (default: 16 in stage 1, 4 in stage 2)",
    )
    parser.add_argument("--jobs", type=_few, metavar="N", help="runs at the same time (default: one per core)")
    parser.add_argument(
        "--executor",
        default="local",
        metavar="NAME",
        help="local (default): processes of this machine; ray: a Ray cluster (pip install 'sakbench[ray]'); here: this "
        "process alone",
    )
    parser.add_argument("--address", default="", help="of a Ray cluster that runs already (default: a local one)")


def _runs_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs",
        type=_path,
        metavar="DIR",
        help="folder of weights and checkpoints (default: runs, beside the store); machines share it to share a table",
    )


def _weights_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        type=_named_file,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="take a backbone's weights from a local file (safetensors first); again for each backbone",
    )


def _data_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=_path, metavar="DIR", help="scale paper: the folder of the real data sets")


def _store_commands(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    export = what.add_parser("export", help="write every complete run and row as JSON lines")
    export.add_argument("output", type=_path, metavar="FILE", help="results.jsonl, which --store reads, too")
    export.set_defaults(call=_store_export)
    merge = what.add_parser("import", help="take in the results of exports or of other stores")
    merge.add_argument("files", nargs="+", metavar="FILE", help="exports (.jsonl) or stores; what is here stays")
    _json_option(merge)
    merge.set_defaults(call=_store_import)
    check = what.add_parser("check", help="find weights and checkpoints that are missing or altered")
    _runs_option(check)
    check.add_argument(
        "--repair", action="store_true", help="remove what is damaged, so that it is made again when it is needed"
    )
    _json_option(check)
    check.set_defaults(call=_store_check)
    upgrade = what.add_parser("upgrade", help="bring a store that an older sakbench wrote up to date")
    upgrade.set_defaults(call=_store_upgrade)
    for one in what.choices.values():
        _store_option(one)


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE, a backbone and the file of its weights")
    return name, _path(file)


def _numbers(text: str) -> list[int]:
    return [_positive(number) for number in text.split(",")]


def _sizes(text: str) -> list[tuple[int, int]]:
    sizes = []
    for one in text.split(","):
        height, _, width = one.partition("x")
        sizes.append((_positive(height), _positive(width or height)))
    return sizes


def _whole(text: str) -> int:
    if not _is_number(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _positive(text: str) -> int:
    if not (_is_number(text) and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _few(text: str) -> int:
    if not (_is_number(text) and 1 <= int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_MOST}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _path(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError("a URL is no file or folder here")
    try:
        Path(text).exists()
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} can be no file or folder ({error})") from error
    return Path(text)


def _store_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        default=DEFAULT_STORE,
        metavar="PLACE",
        help=f"results database: a file (default {DEFAULT_STORE}), a .jsonl export to be read, or "
        "postgresql+psycopg://USER@HOST/DATABASE",
    )


def _json_option(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(options: argparse.Namespace) -> int:
    from sakbench.experiments import tables
    from sakbench.report.running import run

    experiment = tables.get(options.experiment, options.protocol)
    return run(experiment, _scale(options, dict(options.weights), experiment.benchmark), _request(options))


def _probe(options: argparse.Namespace) -> int:
    from sakbench.experiments import tables
    from sakbench.report.running import run

    weights = {options.backbone: options.weights} if options.weights else {}
    return run(tables.probe_of(options.backbone), _scale(options, weights), _request(options))


def _pairs_make(options: argparse.Namespace) -> int:
    from sakbench.report.pairs_making import Wanted, make

    same = ("source", "output", "old", "new", "count", "data", "split", "background", "side", "control", "base")
    more = ("controlnet", "detector", "judge", "prompt", "seed", "attempts", "steps", "device")
    return make(
        Wanted(
            **{name: getattr(options, name) for name in (*same, *more)},
            value=options.label,
            places=tuple(options.place),
            as_json=options.json,
        )
    )


def _pairs_probe(options: argparse.Namespace) -> int:
    from sakbench.report.pairs_probing import MODELS, probe

    return probe(
        options.pairs,
        _scale(options, dict(options.weights)),
        _request(options),
        models=options.models or MODELS,
        heads=not options.no_segmentation,
        figure=options.output,
    )


def _scale(options: argparse.Namespace, weights: dict[str, Path], benchmark: str = "") -> "Scale":
    from sakbench.report.running import scale_of
    from sakbench.runs.scales import dataset_of

    return scale_of(
        options.scale,
        options.dataset or dataset_of(options.scale, benchmark),
        **{name: getattr(options, name) for name in ("norm", "sam_padding", "noise", "precision", "nyud_truth")},
        weights=weights,
        data=options.data,
        language=getattr(options, "language", ""),
    )


def _request(options: argparse.Namespace) -> "Request":
    from sakbench.report.running import Request

    return Request(
        store=options.store,
        again=without_passwords(["sakbench", *options.arguments]),
        runs=getattr(options, "runs", None),
        executor=options.executor,
        address=options.address,
        seeds=getattr(options, "seeds", 0) or 0,
        rows=getattr(options, "rows", ""),
        data=options.data,
        gpus=options.gpus,
        jobs=options.jobs,
        images=options.images_per_gpu,
        dry_run=getattr(options, "dry_run", False),
        as_json=options.json,
    )


def _repeat(options: argparse.Namespace) -> int:
    from sakbench.report.repeating import repeat

    return repeat(options.run, _request(options), weights=dict(options.weights), output=options.output)


def _store_export(options: argparse.Namespace) -> int:
    from sakbench.report.storing import export_store

    export_store(options.store, options.output)
    return 0


def _store_import(options: argparse.Namespace) -> int:
    from sakbench.report.storing import import_into

    import_into(options.store, options.files, as_json=options.json)
    return 0


def _store_check(options: argparse.Namespace) -> int:
    from sakbench.report.store_check import check

    return check(options.store, options.runs, repair=options.repair, as_json=options.json)


def _store_upgrade(options: argparse.Namespace) -> int:
    from sakbench.report.storing import upgrade

    upgrade(options.store)
    return 0


def _bench(options: argparse.Namespace) -> int:
    from sakbench.report.bench import Wanted, bench

    return bench(
        Wanted(
            what=options.what,
            scale=options.scale,
            model=options.model,
            images=options.images,
            sizes=options.size,
            teachers=options.teachers,
            tasks=options.tasks,
            precision=options.precision,
            device=options.device,
            rounds=options.rounds,
            random_weights=options.random_weights,
            as_json=options.json,
        )
    )


def _zoo(options: argparse.Namespace) -> int:
    from sakbench.report.zoo import zoo

    zoo(as_json=options.json)
    return 0


def _data_check(options: argparse.Namespace) -> int:
    from sakbench.report.data_check import check

    return check(options.folder, as_json=options.json)


def _account(options: argparse.Namespace) -> int:
    from sakbench.report.accounting import account

    account(as_json=options.json, tables=options.table)
    return 0


def _predict(options: argparse.Namespace) -> int:
    from sakbench.report.predict import predict

    predict(
        options.checkpoint, options.images, options.output, tasks=options.task, size=options.size, as_json=options.json
    )
    return 0


def _show(options: argparse.Namespace) -> int:
    from sakbench.report.commands import show

    show(options.what, options.store, scale=options.scale, dataset=options.dataset, as_json=options.json)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from sakbench.report.comparing import compare

    compare(
        options.table,
        options.rows,
        options.store,
        runs=options.runs,
        scale=options.scale,
        dataset=options.dataset,
        draws=options.draws,
        as_json=options.json,
    )
    return 0


def _routers(options: argparse.Namespace) -> int:
    from sakbench.report.gating import routers

    routers(
        options.table,
        options.store,
        row=options.row,
        scale=options.scale,
        dataset=options.dataset,
        as_json=options.json,
    )
    return 0


def _ls(options: argparse.Namespace) -> int:
    from sakbench.report.commands import ls

    # Before the first run there is no default store, which is no mistake; a file that the user names must be there.
    nothing_yet = options.store == DEFAULT_STORE and not Path(options.store).exists()
    ls(None if nothing_yet else options.store, as_json=options.json)
    return 0


def _export(options: argparse.Namespace) -> int:
    from sakbench.report.commands import export_leaderboard

    export_leaderboard(options.store, options.output, as_json=options.json)
    return 0


def _report(options: argparse.Namespace) -> int:
    from sakbench.report.page import report

    report(options.store, options.output)
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
    from sakbench.report.pretraining import pretrain

    pretrain(options.names, options.output)
    return 0
