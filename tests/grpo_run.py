"""TRL's own GRPO on a random model of eleven words, on the CPU and without a network: ``python grpo_run.py FOLDER``.

Run by a test in a process of its own, where TRL is installed.
"""

from __future__ import annotations

import os
import sys

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

WORDS = ["<pad>", "<eos>", "<unk>", *"abcdefgh"]
STEPS = 8


def base(folder: str) -> str:
    """A tokenizer of words and a random model, in a folder."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    marks = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), **sizes, **ids)).save_pretrained(folder)
    return folder


def main(folder: str) -> None:
    """Train for a few steps and leave trainer_state.json in the folder; the console is what it prints."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = Dataset.from_dict({"prompt": ["a b", "c d", "e f", "g h"] * 4})
    batches = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "num_generations": 4}
    logs = {"logging_steps": 1, "eval_strategy": "steps", "eval_steps": 4, "report_to": [], "save_strategy": "no"}
    trainer = GRPOTrainer(
        model=base(f"{folder}/base"),
        reward_funcs=lambda completions, **_: [float("a" in text) for text in completions],
        args=GRPOConfig(
            folder,
            max_completion_length=6,
            max_steps=STEPS,
            learning_rate=1e-2,
            beta=0.01,
            use_cpu=True,
            **batches,
            **logs,
        ),
        train_dataset=data,
        eval_dataset=data.select(range(4)),
    )
    trainer.train()
    trainer.save_state()


if __name__ == "__main__":
    main(sys.argv[1])
