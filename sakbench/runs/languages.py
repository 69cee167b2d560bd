"""Language models: mini's, which learns from nothing, and any of transformers by its name or folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sakbench.data.miniworld.questions import words
from sakbench.errors import UserError

MINI = "mini"  # 95,000 parameters, a word a token
_END, _BEGIN = 0, 1


@dataclass
class Words:
    """Mini's language model: two blocks of a Llama, whose tokens are miniworld's words."""

    model: Any

    @property
    def dim(self) -> int:
        """The width of its vectors."""
        return int(self.model.config.hidden_size)

    end = _END
    prefix: tuple[str, str] = ("", "")  # around the question

    def encode(self, text: str) -> list[int]:
        """The words' numbers. Raises KeyError for a word that miniworld has not."""
        return [_NUMBERS[word] for word in text.split()]

    def decode(self, tokens: Sequence[int]) -> str:
        """The words."""
        return " ".join(_WORDS[token - 2] for token in tokens if token > _BEGIN)

    def before(self) -> list[int]:
        """What stands before the image."""
        return [_BEGIN]


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
    def end(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    prefix: tuple[str, str] = ("\n", " ASSISTANT:")

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, nothing added."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def before(self) -> list[int]:
        """What stands before the image."""
        begin = self.tokenizer.bos_token_id
        return [*([] if begin is None else [int(begin)]), *self.encode(_SYSTEM)]


_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed,"
    " and polite answers to the human's questions. USER: "
)


def load(name: str) -> Words | Pretrained:
    """The language model of that name: mini, or a name or folder of transformers'.

    Raises UserError where transformers is not installed, and for a model that is out of reach.
    """
    try:
        import transformers
    except ImportError as error:
        raise UserError("question answering needs transformers: pip install 'sakbench[vlm]' brings it.") from error
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
    transformers.utils.logging.set_verbosity_error()
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the language model {name} is neither a folder here nor in the Hugging Face cache, nor can it be"
            f" downloaded ({str(error).splitlines()[0]}): name a folder with --language."
        ) from error
    # called so in later releases of transformers 5
    checkpointed = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    checkpointed()
    return Pretrained(model, tokenizer)
