"""Our own format: written, read, sent to a hub; what does not belong together is refused."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer

from sakbench import backbones
from sakbench.backbones.encoder import Encoder
from sakbench.errors import UserError
from sakbench.models import SAK, PlainStudent, hub, load_checkpoint

TASKS = {"semseg": 5, "normals": 3}
TEACHERS = {"SAM": 20, "DINOv2": 16}


def plain_encoder(image_size=32, **options) -> Encoder:
    numbers = {"patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2} | options
    return Encoder(VisionTransformer(image_size, num_classes=0, **numbers))


STUDENTS = {
    "SAK": lambda: SAK(plain_encoder(), TEACHERS, TASKS),
    "SAK, not square": lambda: SAK(plain_encoder((32, 48), num_heads=4, mlp_ratio=2.5), TEACHERS, TASKS),
    "SAK, stage 1": lambda: SAK(plain_encoder(), TEACHERS),
    "SAK, paper's noise": lambda: SAK(plain_encoder(), TEACHERS, TASKS, noise="global"),
    "SAK, no routers": lambda: SAK(plain_encoder(), TEACHERS, TASKS, routers=False),
    "SAK, no paths": lambda: SAK(plain_encoder(), TEACHERS, TASKS, adapter_paths=False, routers=False),
    "SAK of the zoo": lambda: SAK(backbones.create("mini_vit_s.supervised", norm="native"), TEACHERS, TASKS),
    "SAK, MLoRE": lambda: SAK(plain_encoder(), TEACHERS, TASKS, decoder="mlore"),
    "baseline": lambda: PlainStudent(plain_encoder(), TASKS),
    "baseline of the zoo": lambda: PlainStudent(backbones.create("mini_samvit_b.sam", sam_padding="stretch"), TASKS),
}


@pytest.mark.parametrize("case", STUDENTS)
def test_a_saved_student_comes_back_bit_for_bit(case, tmp_path):
    torch.manual_seed(0)
    student = STUDENTS[case]().eval()
    student.about = {"scale": "mini", "data set": "miniworld-pascal"}
    student.output_size = (16, 16)
    student.save_pretrained(tmp_path / "here")
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    state = torch.random.get_rng_state()
    for back in (load_checkpoint(tmp_path / "here"), type(student).from_pretrained(tmp_path / "here")):
        assert type(back) is type(student)
        assert back.config == student.config
        assert not back.training
        images = torch.randn(2, 3, *student.backbone.image_size, generator=torch.Generator().manual_seed(1))
        for task, logits in student(images).items():
            assert torch.equal(back(images)[task], logits)
        assert back.state_dict().keys() == student.state_dict().keys()
        assert all(torch.equal(back.state_dict()[name], value) for name, value in student.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    card = (tmp_path / "here" / "README.md").read_text()
    for word in (type(student).__name__, *student.tasks, "miniworld-pascal", "licence"):
        assert word in card


def test_it_can_be_loaded_for_images_of_another_size(tmp_path):
    torch.manual_seed(0)
    student = SAK(plain_encoder(), TEACHERS, TASKS)
    student.save_pretrained(tmp_path)
    wider = SAK.from_pretrained(tmp_path, image_size=(48, 64))
    assert wider.stem.grid == (6, 8)
    assert wider(torch.randn(1, 3, 48, 64))["semseg"].shape == (1, 5, 48, 64)
    before = student.stem.vit.pos_embed[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    after = wider.stem.vit.pos_embed[:, 1:].unflatten(1, (6, 8)).permute(0, 3, 1, 2)
    torch.testing.assert_close(after, F.interpolate(before, (6, 8), mode="bicubic"))
    wider.save_pretrained(tmp_path / "wider")
    assert load_checkpoint(tmp_path / "wider").stem.grid == (6, 8)


def test_an_encoder_that_numbers_do_not_describe_is_not_saved(tmp_path):
    for encoder in (plain_encoder(reg_tokens=2), plain_encoder(init_values=0.1)):
        with pytest.raises(UserError, match="no name of the zoo"):
            SAK(encoder, TEACHERS).save_pretrained(tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    first, second = SAK(plain_encoder(), TEACHERS), SAK(plain_encoder(), {"CLIP": 4})
    first.save_pretrained(tmp_path)
    monkeypatch.setattr(hub, "save_file", lambda *args, **options: (_ for _ in ()).throw(OSError("no room")))
    with pytest.raises(UserError, match="no room"):
        second.save_pretrained(tmp_path)
    assert load_checkpoint(tmp_path).teachers == TEACHERS
    assert not list(tmp_path.glob(".*.draft-*"))


def test_a_card_that_someone_wrote_stays(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    SAK(plain_encoder(), TEACHERS).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_one_line_sends_it_to_a_hub(tmp_path, monkeypatch):
    sent = {}

    class Api:
        def __init__(self, **options):
            pass

        def create_repo(self, repo_id, **options):
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, *, repo_id, folder_path, **options):
            sent[repo_id] = {path.name for path in Path(folder_path).iterdir()}
            return "address"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    student = SAK(plain_encoder(), TEACHERS, TASKS)
    assert student.push_to_hub("me/sak") == "address"
    assert student.save_pretrained(tmp_path, push_to_hub=True, repo_id="me/again") == "address"
    files = {"config.json", "model.safetensors", "README.md"}
    assert sent == {"me/sak": files, "me/again": files}
    with pytest.raises(UserError, match="neither a folder nor the name of a repository"):
        SAK.from_pretrained(tmp_path / "not" / "there")
    with pytest.raises(UserError, match="no folder here, and a hub does not give it"):
        SAK.from_pretrained("me/never-made", local_files_only=True)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    student = SAK(plain_encoder(), TEACHERS, TASKS)
    student.save_pretrained(tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    right, whole = config.read_text(), weights.read_bytes()

    unknown = {"name": "vit_gigantic", "image_size": [32, 32], "grid": [4, 4]}

    def refuses(message):
        with pytest.raises(UserError, match=message) as caught:
            load_checkpoint(tmp_path)
        assert "\n" not in str(caught.value)

    weights.write_bytes(whole[: len(whole) // 2])
    refuses("cannot be read .*is the file whole")
    save_file(SAK(plain_encoder(), {"SAM": 20}, TASKS).state_dict(), weights)
    refuses("do not fit the model that config.json describes")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["stem.vit.pos_embed"]
    save_file(tensors, weights)
    refuses("do not fit")
    weights.unlink()
    refuses("it has no model.safetensors")
    weights.write_bytes(whole)
    for wrong, message in (
        ("{", "cannot be read as JSON"),
        ("[]", "holds a list"),
        (json.dumps({"kind": "tasks"}), "describes no student of sakbench: its model is None"),
        (right.replace('"SAK"', '"Swin"'), "its model is 'Swin'"),
        (right.replace('"format": 1', '"format": 9'), "its format is 9, not 1"),
        (right.replace("0.485", "0.5"), "its normalisation is"),
        (right.replace('"noise"', '"loudness"'), "loudness"),
        (right.replace('"grid"', '"lattice"'), "it has no 'grid'"),
        (right.replace('"depth": 4', '"depth": "four"'), "describes no SAK that can be built"),
        (json.dumps({**json.loads(right), "encoder": unknown}), "there is no backbone named 'vit_gigantic'"),
    ):
        config.write_text(wrong)
        refuses(message)
    config.write_text(right)
    with pytest.raises(UserError, match="its model is SAK, not PlainStudent"):
        PlainStudent.from_pretrained(tmp_path)
    assert isinstance(load_checkpoint(weights), SAK)
    config.unlink()
    refuses("a folder with config.json and model.safetensors")
    with pytest.raises(UserError, match="not a SAK checkpoint"):
        load_checkpoint(weights)
