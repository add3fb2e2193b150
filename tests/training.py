"""Tiny models and quiet trainers, for tests that train."""

from __future__ import annotations

from typing import Any

import torch
from cases import assistant, user
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
# Ten steps on a CPU that say and keep nothing.
QUIET: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "max_steps": 10,
    "learning_rate": 1e-2,
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
}
# As TRL wants a data set that it is not to tokenize.
UNPREPARED: dict[str, Any] = {"dataset_kwargs": {"skip_prepare_dataset": True}}
CITIES = ("Bern", "Köln", "Rome", "Lyon", "Oslo", "Bonn", "Nice", "York")
ROWS = [
    {"messages": [user(f"Where is the train to {city}? " * (1 + i % 3)), assistant(f"In {city}.")]}
    for i, city in enumerate(CITIES)
]


def model_of(tokenizer: Any, family: str = "qwen2", **options: Any) -> Any:
    torch.manual_seed(0)
    config = {**SIZES, "vocab_size": len(tokenizer), "initializer_range": 0.1, **options}
    return Qwen2ForCausalLM(Qwen2Config(**config)) if family == "qwen2" else LlamaForCausalLM(LlamaConfig(**config))


def losses_of(trainer: Any) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
