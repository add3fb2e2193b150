"""Right arguments for what the package offers: what the sweep makes wrong, one place after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import chatspan
import torch
from chatspan import (
    ChatCollator,
    ChatEncoder,
    CollatorConfig,
    ComposerDataCollator,
    DistillationConfig,
    EncodedMediaCollator,
    HintedPrompts,
    Kind,
    Rollout,
    SelfDistillationCollator,
    TemplateLimits,
)
from chatspan.distillation.teachers import teacher_prompts, top_k_of
from chatspan.loss import hidden_states_and_head, linear_sdpo_loss, model_inputs, sdpo_loss, topk_sdpo_loss
from chatspan.nemo_rl import sdpo_batches
from chatspan.shards.teacher_store import TeacherStore
from chatspan.swift import opsd_rows
from chatspan.trl import DemonstrationContextBuilder, distillation_inputs

U = {"role": "user", "content": "2 + 2?"}
A = {"role": "assistant", "content": "4"}
TRACE = {"trace_id": "t", "turns": [U, {**A, "tool_error": "x"}, U, A]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
READER = {
    "column": "messages",
    "format": "messages",
    "tool_arguments": "auto",
    "null_content": "auto",
    "text_parts": "auto",
}
TEMPLATE_KEYWORDS = {"enable_thinking": True}
ROW = {"messages": [U, A], "tools": [TOOL], "chat_template_kwargs": TEMPLATE_KEYWORDS, "loss_messages": [1]}
PAIR = {"messages": [U, A], "teacher_messages": [{"role": "system", "content": "h"}, U, A], "loss_messages": [1]}
SUPERVISED = {
    "loss_on": {"assistant": 1.0},
    "end_of_turn": "token",
    "max_length": 400,
    "truncation": "left",
    "empty_rows": "error",
    "special_tokens": "as_rendered",
    "off_prompt": "keep",
    "train_on": ["assistant"],
    "loss_weight": False,
    **READER,
}
DISTILLATION = {
    "layout": "aligned",
    "loss_on": "content",
    "straddle": "blanks",
    "max_dropped": 0.02,
    "max_length": 400,
    "overflow": "error",
    "pad_to_multiple_of": 8,
    "pad_sequences_to_multiple_of": None,
    "shift_labels": False,
    "padding_side": "right",
    "keep_empty": True,
    "constant_keys": False,
    "packing": False,
    "sdpo_ignore_index": 0,
    "backend": "hf",
    "off_prompt": "keep",
    "boundaries": "as_rendered",
    **READER,
}

Call = tuple[Callable[..., Any], dict[str, Any]]


class HeadAlone(torch.nn.Module):
    """As little of a language model as has a head."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(4, 9)

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self) -> Any:
        return {"logits": self.head(torch.zeros(1, 2, 4))}


class TextProcessor:
    """A processor that takes no media."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def apply_chat_template(self, conversations: Any, **_: Any) -> Any:
        return self(text=[messages[0]["render"] for messages in conversations])

    def __call__(self, text: Any, **_: Any) -> Any:
        return self.tokenizer(text, padding=True, return_tensors="pt", add_special_tokens=False)


def hint(tool_error: Any, error_meta: Any) -> str:
    return "Hint."


def scored(batch: Any) -> Any:
    """What vLLM answers for a batch of one row."""
    [ids] = [prompt.input_ids for prompt in teacher_prompts(batch)]
    rows = [None, *({str(token): {"logprob": -1.0, "rank": 1}} for token in ids[1:])]
    return [{"choices": [{"prompt_token_ids": ids, "prompt_logprobs": rows}]}]


def calls(t: Any) -> dict[str, Call]:
    """By name, each function, constructor and method, and right arguments of it.

    Args:
        t: a tokenizer.
    """
    encoder = ChatEncoder(t, backend="hf")
    encoding = encoder.encode([U, A])
    collate = ChatCollator(t, backend="hf")
    composer = ComposerDataCollator(t, CollatorConfig(hint_generator=hint, backend="hf"))
    twin = SelfDistillationCollator(t, DistillationConfig(backend="hf"))
    evenly = ComposerDataCollator(t, CollatorConfig(hint_generator=hint, backend="hf", pad_to_multiple_of=2))
    packer = SelfDistillationCollator(t, DistillationConfig(layout="indexed", packing=True, backend="hf"))
    of_call = {
        "tools": [TOOL],
        "documents": [{"title": "a", "text": "b"}],
        "add_generation_prompt": False,
        "continue_final_message": False,
        "max_length": 400,
        "truncation": "left",
        "special_tokens": "escape",
        "token_ids_check": True,
        "template_kwargs": TEMPLATE_KEYWORDS,
    }
    sampled = {**A, "token_ids": encoding.input_ids[encoding.mask()].tolist()}
    selection = {
        "roles": ("assistant",),
        "what": {Kind.CONTENT},
        "messages": [1],
        "end_of_turn": "token",
        "straddle": "first",
    }
    turns = SelfDistillationCollator(t, DistillationConfig(loss_on="turn", backend="hf"))
    sdft = {"_tokenizer": t, "chat_template_kwargs": {}, "max_prompt_length": None, "teacher_context_builder": None}
    builder = DemonstrationContextBuilder(SimpleNamespace(**sdft), backend="hf")
    batch = composer([TRACE])
    processor = TextProcessor(t)
    logits = torch.zeros(1, batch["input_ids"].shape[1], len(t))
    store = TeacherStore(tempfile.mkdtemp(), teacher="a")
    store.add(teacher_prompts(batch), scored(batch))
    return {
        "ChatEncoder": (
            ChatEncoder,
            {
                "tokenizer": t,
                "chat_template": t.chat_template,
                "backend": "hf",
                "cache_bytes": 0,
                "template_limits": TemplateLimits(),
                "boundaries": "as_rendered",
            },
        ),
        "ChatEncoder.encode": (encoder.encode, {"messages": [U, A], **of_call}),
        "ChatEncoder.encode with ids": (encoder.encode, {"messages": [U, sampled], "token_ids_check": False}),
        "ChatEncoder.encode_batch": (encoder.encode_batch, {"conversations": [[U, A], [U]], **of_call}),
        "ChatEncoder.as_map_fn": (encoder.as_map_fn, {"columns": ["input_ids"], **SUPERVISED}),
        "ChatEncoder.as_map_fn()": (encoder.as_map_fn(), {"batch": {"messages": [[U, A]]}, "indices": [0]}),
        "ChatEncoder.decode": (encoder.decode, {"ids": [1, 2]}),
        "ChatEncoder.habits": (encoder.habits, {"tools": [TOOL], "template_kwargs": TEMPLATE_KEYWORDS}),
        "ChatEncoder.warm_up": (encoder.warm_up, {"background": False}),
        "Encoding.mask": (encoding.mask, {**selection, "what": "turn"}),
        "Encoding.labels": (encoding.labels, selection),
        "Encoding.weights": (encoding.weights, {"weights": {"assistant": 1.0, 1: 2.0, Kind.CONTENT: 1.0}}),
        "Encoding.end_of_turn": (encoding.end_of_turn, {"message_index": 1}),
        "Encoding.turn_ranges": (encoding.turn_ranges, {"message_index": 1, "end_of_turn": "all"}),
        "ChatCollator": (
            ChatCollator,
            {
                "tokenizer": t,
                "packing": False,
                "pad_to_multiple_of": 8,
                "pad_sequences_to_multiple_of": None,
                "shift_labels": False,
                "padding_side": "right",
                "chat_template": t.chat_template,
                "backend": "hf",
                "boundaries": "as_rendered",
                **SUPERVISED,
            },
        ),
        "ChatCollator()": (collate, {"rows": [ROW]}),
        "ChatCollator.explain": (collate.explain, {"row": ROW}),
        "ChatCollator.has_signal": (collate.has_signal, {"row": ROW}),
        "ChatCollator.lengths": (collate.lengths, {"rows": [ROW]}),
        "EncodedMediaCollator": (
            EncodedMediaCollator,
            {
                "processor": processor,
                "padding_side": "left",
                "pad_to_multiple_of": 8,
                "media_folder": "examples",
            },
        ),
        "EncodedMediaCollator()": (
            EncodedMediaCollator(processor),
            {
                "rows": [
                    {
                        "input_ids": encoding.input_ids.tolist(),
                        "labels": encoding.labels().tolist(),
                        "render": encoding.text,
                        "media": [],
                    }
                ]
            },
        ),
        "CollatorConfig": (
            CollatorConfig,
            {
                "hint_generator": hint,
                "hint_role": "system",
                "hint_placement": "before_turn",
                "hint_scope": "all",
                "enable_replay_dpo": False,
                **DISTILLATION,
            },
        ),
        "DistillationConfig": (DistillationConfig, DISTILLATION),
        "ComposerDataCollator": (
            ComposerDataCollator,
            {"tokenizer": t, "config": CollatorConfig(hint_generator=hint)},
        ),
        "ComposerDataCollator()": (composer, {"rows": [TRACE]}),
        "ComposerDataCollator.explain": (composer.explain, {"row": TRACE}),
        "ComposerDataCollator.examined": (composer.examined, {"rows": [TRACE]}),
        "ComposerDataCollator.lengths": (composer.lengths, {"rows": [TRACE]}),
        "SelfDistillationCollator": (SelfDistillationCollator, {"tokenizer": t, "config": DistillationConfig()}),
        "SelfDistillationCollator()": (twin, {"rows": [PAIR]}),
        "SelfDistillationCollator.has_signal": (twin.has_signal, {"row": PAIR}),
        "HintedPrompts": (
            HintedPrompts,
            {
                "tokenizer": t,
                "hint_placement": "append_to_previous",
                "hint_role": "system",
                "chat_template_kwargs": TEMPLATE_KEYWORDS,
                "backend": "hf",
            },
        ),
        "HintedPrompts.encode": (HintedPrompts(t, backend="hf").encode, {"prompts": [[U]], "hints": ["Hint."]}),
        "pack_dataset": (
            chatspan.pack_dataset,
            {"rows": [{"messages": [U, A], "teacher_messages": None}], "max_length": 400, "collator": packer},
        ),
        "audit_dataset": (
            chatspan.audit_dataset,
            {
                "data": [{"messages": [U, A], "teacher_messages": None}],
                "encoder": encoder,
                "loss_on": "turn",
                "end_of_turn": "token",
                "train_on": "all",
                "max_length": 400,
                "off_prompt": "keep",
                "show_turns": False,
                "show_stability": False,
                "limit": 3,
                "processes": 1,
                "split": "train",
                "subset": None,
                **READER,
            },
        ),
        "plot_lengths": (
            chatspan.plot_lengths,
            {"collator": packer, "rows": [{"messages": [U, A], "teacher_messages": None}], "ax": None},
        ),
        "plot_loss_share": (
            chatspan.plot_loss_share,
            {"collator": packer, "rows": [{"messages": [U, A], "teacher_messages": None}], "ax": None},
        ),
        "shard_batch": (chatspan.shard_batch, {"batch": evenly([TRACE]), "rank": 0, "world": 1, "order": "zigzag"}),
        "read_row": (chatspan.read_row, {"row": {"messages": [U, A]}, "encoder": encoder, **READER}),
        "ChatEncoder.sampled_rows": (
            encoder.sampled_rows,
            {
                "messages": [U, {**sampled, "logprobs": [0.0] * len(sampled["token_ids"])}],
                "tools": [TOOL],
                "on_rewrite": "split",
                "end_of_turn": "token",
                "token_ids_check": False,
                "per_token": ("logprobs",),
                "template_kwargs": TEMPLATE_KEYWORDS,
            },
        ),
        "ChatEncoder.parse_completion": (
            encoder.parse_completion,
            {"prompt": [U], "token_ids": sampled["token_ids"], "tools": [TOOL], "template_kwargs": TEMPLATE_KEYWORDS},
        ),
        "Rollout": (
            Rollout,
            {
                "encoder": encoder,
                "messages": [U],
                "tools": [TOOL],
                "documents": None,
                "on_rewrite": "keep",
                "template_kwargs": TEMPLATE_KEYWORDS,
            },
        ),
        "Rollout.add_completion": (
            lambda **given: Rollout(encoder, [U]).add_completion(**given),
            {
                "token_ids": sampled["token_ids"],
                "message": A,
                "finish_reason": "stop",
                "logprobs": [0.0] * len(sampled["token_ids"]),
            },
        ),
        "Rollout.add_messages": (lambda **given: Rollout(encoder, [U]).add_messages(**given), {"new_messages": [U]}),
        "bridge_to_next_turn": (
            chatspan.bridge_to_next_turn,
            {
                "encoder": encoder,
                "messages": [U],
                "previous_prompt_ids": encoder.encode([U], add_generation_prompt=True).input_ids.tolist(),
                "previous_completion_ids": sampled["token_ids"],
                "new_messages": [U],
                "message": A,
                "finish_reason": "stop",
                "on_rewrite": "error",
            },
        ),
        "stability": (chatspan.stability, {"encoder": encoder, "tools": None}),
        "linear_sdpo_loss": (
            linear_sdpo_loss,
            {
                "student_hidden": logits[..., :4],
                "teacher_hidden": logits[..., :4],
                "batch": batch,
                "student_head": torch.zeros(9, 4),
                "teacher_head": torch.zeros(9, 4),
                "chunk_size": 2,
                "logit_softcap": 2.0,
            },
        ),
        "hidden_states_and_head": (hidden_states_and_head, {"model": HeadAlone(), "vocabulary": 5}),
        "align": (chatspan.align, {"student": encoding, "teacher": encoding, "message_map": {0: 0, 1: 1}}),
        "check_layout": (
            chatspan.check_layout,
            {
                "model_config": SimpleNamespace(model_type="qwen2"),
                "layout": "aligned",
                "packing": False,
                "batch": {"input_ids": None},
            },
        ),
        "model_inputs": (model_inputs, {"batch": {"input_ids": None}, "model": HeadAlone(), "side": "teacher"}),
        "RowOptions": (chatspan.RowOptions, READER),
        "TemplateLimits": (TemplateLimits, {"steps": 5, "depth": 5, "bytes": 5}),
        "Offsets": (chatspan.Offsets, {"offsets": [(0, 1)], "text_length": 3}),
        "locate": (
            chatspan.locate,
            {"text": "<u>a", "contents": ["a"], "anchors": [("<u>", "")], "blanks": "kept"},
        ),
        "token_spans": (chatspan.token_spans, {"offsets": [(0, 1)], "spans": [(0, 1)], "straddle": "first"}),
        "token_mask": (chatspan.token_mask, {"offsets": [(0, 1)], "spans": [(0, 1)], "straddle": "first"}),
        "topk_sdpo_loss": (
            topk_sdpo_loss,
            {
                "student": logits[..., :4],
                "teacher_topk_logprobs": torch.full((*batch["response_idx_mask"].shape, 2), -1.0),
                "teacher_topk_ids": torch.arange(2).expand(*batch["response_idx_mask"].shape, 2),
                "batch": batch,
                "student_head": torch.zeros(9, 4),
                "chunk_size": 2,
                "add_tail": False,
            },
        ),
        "teacher_prompts": (teacher_prompts, {"batch": batch}),
        "top_k_of": (top_k_of, {"responses": scored(batch), "batch": batch}),
        "TeacherStore.missing": (store.missing, {"batch": batch}),
        "TeacherStore.add": (store.add, {"prompts": teacher_prompts(batch), "responses": scored(batch)}),
        "TeacherStore.top_k_of": (store.top_k_of, {"batch": batch}),
        "sdpo_loss": (sdpo_loss, {"student_logits": logits, "teacher_logits": logits, "batch": batch}),
        "distillation_inputs": (distillation_inputs, {"collator": twin, "rows": [PAIR]}),
        "sdpo_batches": (sdpo_batches, {"collator": twin, "rows": [PAIR], "pad_to_multiple_of": 8}),
        "opsd_rows": (
            opsd_rows,
            {"collator": turns, "rows": [{**PAIR, "teacher_messages": [{**U, "content": "2 + 2? 4."}, A]}]},
        ),
        "DemonstrationContextBuilder": (
            DemonstrationContextBuilder,
            {
                "trainer": SimpleNamespace(**sdft),
                "hint_placement": "before_turn",
                "hint_role": "user",
                "backend": "hf",
            },
        ),
        "DemonstrationContextBuilder.build": (
            builder.build,
            {
                "prompts": [[U]],
                "privileged_contexts": ["Hint."],
                "completion_ids": torch.ones(1, 2, dtype=torch.int64),
                "completion_mask": torch.ones(1, 2, dtype=torch.int64),
            },
        ),
    }
