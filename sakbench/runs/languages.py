"""Language models: mini's, which learns from nothing, and any of transformers by its name or folder.

Each says what it is given, in tokens. A caption is learned in LLaVA's plain form, the image and the words; a
conversation in the form in which Vicuna was taught, of which mini's model needs the words alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import torch

from sakbench.data.miniworld.questions import words
from sakbench.errors import UserError

MINI = "mini"  # 95,000 parameters, a word a token
_END, _BEGIN = 0, 1
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
_MEGABYTE = 2**20


@dataclass
class Words:
    """Mini's language model: two blocks of a Llama, whose tokens are miniworld's words."""

    model: Any
    end = caption_end = (_END,)

    @property
    def dim(self) -> int:
        """The width of its vectors."""
        return int(self.model.config.hidden_size)

    def before(self, *, captions: bool) -> list[int]:
        """What stands before the image, of a caption or of a conversation."""
        return [_BEGIN]

    def question(self, text: str, *, first: bool, pictured: bool) -> list[int]:
        """What is asked, the first of a conversation or a later turn."""
        return self.encode(text)

    def encode(self, text: str) -> list[int]:
        """The words' numbers. Raises KeyError for a word that miniworld has not."""
        return [_NUMBERS[word] for word in text.split()]

    def decode(self, tokens: Sequence[int]) -> str:
        """The words."""
        return " ".join(_WORDS[token - 2] for token in tokens if token > _BEGIN)


_WORDS = words()
_NUMBERS = {word: number for number, word in enumerate(_WORDS, start=2)}


@dataclass
class Pretrained:
    """A causal language model of transformers with its tokenizer, spoken to as LLaVA-1.5 speaks to Vicuna."""

    model: Any
    tokenizer: Any

    @property
    def dim(self) -> int:
        """The width of its vectors."""
        return int(self.model.get_input_embeddings().embedding_dim)

    @property
    def end(self) -> tuple[int, ...]:
        """What ends an answer."""
        return (int(self.tokenizer.eos_token_id),)

    @property
    def caption_end(self) -> tuple[int, ...]:
        """What ends a caption."""
        return tuple(self.encode("\n"))

    def before(self, *, captions: bool) -> list[int]:
        """What stands before the image, of a caption or of a conversation."""
        begin = self.tokenizer.bos_token_id
        return [*([] if begin is None else [int(begin)]), *([] if captions else self.encode(_SYSTEM))]

    def question(self, text: str, *, first: bool, pictured: bool) -> list[int]:
        """What is asked, the first of a conversation or a later turn."""
        opening = "\n" * pictured if first else "USER: "
        return self.encode(f"{opening}{text} ASSISTANT:")

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, nothing added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


Language = Words | Pretrained

_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed,"
    " and polite answers to the human's questions. USER: "
)


def require(name: str) -> None:
    """Fetch a language model's files, if they are not here. Raises UserError where they cannot be had."""
    transformers = _transformers()
    if name == MINI:
        return
    _tokenizer(name)
    folder = Path(name)
    if not folder.is_dir():
        try:
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=["*.json", *_WEIGHTS]))
        except (OSError, ValueError) as error:
            raise UserError(f"the language model {name} cannot be had ({_first_line(error)}): {_REMEDY}") from error
    if not any(file for kind in _WEIGHTS for file in folder.glob(kind)):
        raise UserError(f"the folder {folder} of a language model holds no weights ({', '.join(_WEIGHTS)}).")
    try:
        transformers.AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"the language model {name} cannot be had ({_first_line(error)}): {_REMEDY}") from error


def digest(name: str) -> str:
    """What tells a folder's language model from another: names, sizes and beginnings of its files. Empty of others."""
    folder, content = Path(name), hashlib.sha256()
    if not folder.is_dir():
        return ""
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        content.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            content.update(stream.read(_MEGABYTE))
    return content.hexdigest()[:12]


def load(name: str) -> Language:
    """The language model of that name: mini, or a name or folder of transformers'.

    Raises UserError where transformers is not installed, and for a model that is out of reach.
    """
    transformers = _transformers()
    if name == MINI:
        config = transformers.LlamaConfig(
            vocab_size=len(_WORDS) + 2,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
            pad_token_id=None,
            bos_token_id=_BEGIN,
            eos_token_id=_END,
        )
        return Words(transformers.LlamaForCausalLM(config))
    tokenizer = _tokenizer(name)
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise UserError(f"the language model {name} cannot be had ({_first_line(error)}): {_REMEDY}") from error
    newer = getattr(model, "activation_checkpointing_enable", None)  # called so in later releases of transformers 5
    (newer or model.gradient_checkpointing_enable)()
    return Pretrained(model, tokenizer)


_REMEDY = "name a folder of transformers' files, or a name of the Hugging Face hub, with --language."


def _tokenizer(name: str) -> Any:
    transformers = _transformers()
    transformers.utils.logging.set_verbosity_error()
    try:
        return transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"the tokenizer of {name} cannot be had ({_first_line(error)}): {_REMEDY}") from error


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UserError("question answering needs transformers: pip install 'sakbench[vlm]' brings it.") from error
    return transformers


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
