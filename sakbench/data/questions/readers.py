"""The files of GQA, POPE, VQAv2 and LLaVA-1.5's instructions, as their authors publish them.

| what | where, below one folder | how |
|---|---|---|
| LLaVA-1.5, first phase | blip_laion_cc_sbu_558k.json, LLaVA-Pretrain/ | list of `image`, `conversations` |
| second phase | llava_v1_5_mix665k.json, coco/, gqa/, ocr_vqa/, textvqa/, vg/ | the same; some without `image` |
| GQA | gqa/testdev_balanced_questions.json, gqa/images/*.jpg | object of questions by id |
| POPE | pope/coco_pope_{random,popular,adversarial}.json, coco/val2014/*.jpg | a JSON object per line |
| VQAv2 | vqav2/v2_OpenEnded_mscoco_val2014_questions.json, vqav2/v2_mscoco_val2014_annotations.json | lists |
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sakbench.data.questions.records import Question, Turn
from sakbench.errors import UserError

INSTRUCTIONS = {"align": "blip_laion_cc_sbu_558k.json", "instruct": "llava_v1_5_mix665k.json"}
_ALIGNED_IMAGES = "LLaVA-Pretrain"
_IMAGE_MARK = "<image>"
_GQA = "gqa/testdev_balanced_questions.json"
_POPE = {kind: f"pope/coco_pope_{kind}.json" for kind in ("random", "popular", "adversarial")}
_VQAV2 = "vqav2/v2_OpenEnded_mscoco_val2014_questions.json", "vqav2/v2_mscoco_val2014_annotations.json"
_COCO, _GQA_IMAGES = "coco/val2014", "gqa/images"
_FOLDERS = (_ALIGNED_IMAGES, "coco", _GQA_IMAGES, "ocr_vqa", "textvqa", "vg", _COCO)
Conversation = tuple[str | None, tuple[Turn, ...]]  # an image's place, if there is one


def find(root: Path) -> Path:
    """The folder of the files above: `root` or a folder `llava` in it. Raises UserError if there is none."""
    for folder in (root, root / "llava"):
        if (folder / INSTRUCTIONS["instruct"]).is_file():
            return folder
    raise UserError(
        f"LLaVA-1.5's data are not in {root}: neither it nor {root / 'llava'} holds {INSTRUCTIONS['instruct']}; get it"
        " from huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K, and the images that it names."
    )


def require(root: Path) -> None:
    """Raise UserError for a list or a folder of images that is missing; the images in it are not counted."""
    folder = find(root)
    lists = (*INSTRUCTIONS.values(), _GQA, *_POPE.values(), *_VQAV2)
    missing = [place for place in lists if not (folder / place).is_file()]
    missing += [f"{place}/" for place in _FOLDERS if not (folder / place).is_dir()]
    if missing:
        raise UserError(f"questions cannot be learned and asked from {folder}: {', '.join(missing)} missing there.")


def conversations(folder: Path, phase: str) -> list[Conversation]:
    """The instructions of a phase, "align" or "instruct". Raises UserError for a file that is missing or another."""
    path = folder / INSTRUCTIONS[phase]
    found = []
    for number, record in enumerate(_records(path, list), 1):
        try:
            turns = record["conversations"]
            asked, answered = turns[::2], turns[1::2]
            pairs = tuple(
                Turn(a["value"].replace(_IMAGE_MARK, "").strip(), b["value"].strip())
                for a, b in zip(asked, answered, strict=True)
            )
            image = record.get("image")
            if not pairs or any(
                turn["from"] != who for who, part in (("human", asked), ("gpt", answered)) for turn in part
            ):
                raise ValueError("turns do not alternate between human and gpt")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"record {number} of {path} is no conversation ({error}).") from error
        place = f"{_ALIGNED_IMAGES}/{image}" if image and phase == "align" else image
        found.append((place, pairs))
    if not found:
        raise UserError(f"{path} holds no conversation.")
    return found


def questions(folder: Path, benchmark: str) -> list[Question]:
    """All questions of a benchmark: gqa, pope or vqav2. Raises UserError for files that are missing or others."""
    return list({"gqa": _gqa, "pope": _pope, "vqav2": _vqav2}[benchmark](folder))


def _gqa(folder: Path) -> Iterator[Question]:
    path = folder / _GQA
    for key, record in _records(path, dict).items():
        with _Reading(path, key):
            yield Question("gqa", f"{_GQA_IMAGES}/{record['imageId']}.jpg", record["question"], (record["answer"],))


def _pope(folder: Path) -> Iterator[Question]:
    for kind, place in _POPE.items():
        path = folder / place
        for number, line in enumerate(_text(path).splitlines(), 1):
            if not line.strip():
                continue
            with _Reading(path, f"line {number}"):
                record = json.loads(line)
                yield Question("pope", f"{_COCO}/{record['image']}", record["text"], (record["label"],), kind)


def _vqav2(folder: Path) -> Iterator[Question]:
    asked, given = (folder / place for place in _VQAV2)
    answers = {}
    for record in _part(given, "annotations"):
        with _Reading(given, record):
            answers[record["question_id"]] = tuple(one["answer"] for one in record["answers"])
    for record in _part(asked, "questions"):
        with _Reading(asked, record):
            place = f"{_COCO}/COCO_val2014_{record['image_id']:012d}.jpg"
            yield Question("vqav2", place, record["question"], answers[record["question_id"]])


class _Reading:
    """Whatever a foreign record makes Python raise is one sentence about its file."""

    def __init__(self, path: Path, record: object) -> None:
        self.path, self.record = path, record

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError | TypeError | ValueError | AttributeError):
            raise UserError(f"{self.path} is not as it should be at {str(self.record)[:60]} ({error}).") from error


def _part(path: Path, key: str) -> Sequence[Any]:
    content = _records(path, dict)
    if not isinstance(content.get(key), list):
        raise UserError(f"{path} has no list of {key}.")
    return content[key]


def _records(path: Path, kind: type) -> Any:
    try:
        content = json.loads(_text(path))
    except ValueError as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): get it again.") from error
    if not isinstance(content, kind):
        raise UserError(f"{path} holds a {type(content).__name__} instead of a {kind.__name__}: is it another file?")
    return content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from error
