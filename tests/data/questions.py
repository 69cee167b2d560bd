"""The files of LLaVA-1.5, GQA, POPE and VQAv2 in their real layouts, with a few records and images each."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def _image(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 48, 3), colour, np.uint8)).save(path)


def llava(folder: Path) -> Path:
    """Two conversations to align, three to instruct (one without an image), a question of each kind."""
    folder.mkdir(parents=True, exist_ok=True)

    def told(image, *pairs):
        turns = [
            {"from": who, "value": value}
            for asked, answered in pairs
            for who, value in (("human", asked), ("gpt", answered))
        ]
        return {"id": "x", "conversations": turns, **({"image": image} if image else {})}

    aligned = [told(f"0000/{i}.jpg", ("<image>\ndescribe the picture", "a red ball")) for i in range(2)]
    instructed = [
        told("coco/train2017/1.jpg", ("<image>\nis there a ball", "yes"), ("what colour is it", "red")),
        told("gqa/images/2.jpg", ("<image>\nis there a cat", "no")),
        told(None, ("what is red", "a colour")),
    ]
    (folder / "blip_laion_cc_sbu_558k.json").write_text(json.dumps(aligned))
    (folder / "llava_v1_5_mix665k.json").write_text(json.dumps(instructed))
    for place in ("LLaVA-Pretrain/0000/0.jpg", "LLaVA-Pretrain/0000/1.jpg", "coco/train2017/1.jpg", "gqa/images/2.jpg"):
        _image(folder / place, (200, 30, 30))
    gqa = {"07": {"imageId": "2", "question": "Is there a cat?", "answer": "no", "fullAnswer": "No, there is not."}}
    (folder / "gqa/testdev_balanced_questions.json").write_text(json.dumps(gqa))
    for kind in ("random", "popular", "adversarial"):
        lines = [
            {"question_id": i, "image": "COCO_val2014_000000000003.jpg", "text": f"Is there a {name}?", "label": label}
            for i, (name, label) in enumerate((("ball", "yes"), ("cat", "no")))
        ]
        file = folder / f"pope/coco_pope_{kind}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = [{"image_id": 3, "question": "What colour is the ball?", "question_id": 3000}]
    answers = [{"answer": "red" if i < 7 else "blue", "answer_id": i} for i in range(10)]
    (folder / "vqav2").mkdir()
    (folder / "vqav2/v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps({"questions": asked}))
    (folder / "vqav2/v2_mscoco_val2014_annotations.json").write_text(
        json.dumps({"annotations": [{"question_id": 3000, "image_id": 3, "answers": answers}]})
    )
    _image(folder / "coco/val2014/COCO_val2014_000000000003.jpg", (30, 30, 200))
    return folder
