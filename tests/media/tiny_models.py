"""Tiny random models of vision families, with the ids of a processor's tokenizer; compared in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

_TEXT = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
_ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}


def tiny(family: str, processor: Any) -> Any:
    """A model of ``"qwen2_5_vl"``, ``"qwen3_vl"``, ``"gemma3"`` or ``"llava"`` that takes a processor's batches."""
    if int(transformers.__version__.split(".")[0]) < 5:
        pytest.skip("configurations of transformers before 5 have other names")
    torch.manual_seed(0)
    tokenizer = processor.tokenizer
    size = len(tokenizer)
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
    vision: dict[str, Any] = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    if family == "qwen2_5_vl":
        config = transformers.Qwen2_5_VLConfig(
            text_config={**_TEXT, "vocab_size": size, "rope_parameters": _ROPE},
            vision_config={**vision, "out_hidden_size": 16},
            image_token_id=ids["image"],
            video_token_id=ids["video"],
        )
        return transformers.Qwen2_5_VLForConditionalGeneration(config)
    if family == "qwen3_vl":
        config = transformers.Qwen3VLConfig(
            text_config={**_TEXT, "head_dim": 8, "vocab_size": size, "rope_parameters": _ROPE},
            vision_config={
                **vision,
                "out_hidden_size": 16,
                "deepstack_visual_indexes": [0],
                "num_position_embeddings": 16,
                "patch_size": 14,
            },
            image_token_id=ids["image"],
            video_token_id=ids["video"],
        )
        return transformers.Qwen3VLForConditionalGeneration(config)
    siglip = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    if family == "gemma3":
        config = transformers.Gemma3Config(
            text_config={**_TEXT, "head_dim": 8, "vocab_size": size, "layer_types": ["full_attention"] * 2},
            vision_config={**siglip, "image_size": 224, "patch_size": 14},
            mm_tokens_per_image=256,
            image_token_index=tokenizer.image_token_id,
        )
        return transformers.Gemma3ForConditionalGeneration(config)
    config = transformers.LlavaConfig(
        text_config={**_TEXT, "model_type": "llama", "vocab_size": size},
        vision_config={
            **siglip,
            "model_type": "clip_vision_model",
            "image_size": 224,
            "patch_size": 14,
            "projection_dim": 16,
        },
        image_token_index=processor.image_token_id,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
    )
    return transformers.LlavaForConditionalGeneration(config)
