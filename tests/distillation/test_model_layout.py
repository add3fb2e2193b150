"""Which models survive holes, by their configuration; and that it is so, by their logits."""

from __future__ import annotations

import pytest
import transformers
from chatspan import LayoutError, OptionError, check_layout

SURVIVE = {
    "Qwen2": transformers.Qwen2Config(),
    "Qwen2 with a window that is not used": transformers.Qwen2Config(sliding_window=4096, use_sliding_window=False),
    "Qwen3": transformers.Qwen3Config(),
    "Llama": transformers.LlamaConfig(),
    "Mistral-Nemo": transformers.MistralConfig(sliding_window=None),
    "DeepSeek-V3": transformers.DeepseekV3Config(),
    "Phi-3": transformers.Phi3Config(),
    "GPT-2": transformers.GPT2Config(),
    "Bloom, whose ALiBi counts what is seen": transformers.BloomConfig(),
}
DO_NOT = {
    "Mistral": (transformers.MistralConfig(sliding_window=4096), "sliding_window=4096"),
    "Qwen2 with a window": (
        transformers.Qwen2Config(use_sliding_window=True, sliding_window=8, max_window_layers=1),
        "layer_types with sliding_attention",
    ),
    "Gemma-2": (transformers.Gemma2Config(), "layer_types with sliding_attention"),
    "Gemma-3": (transformers.Gemma3TextConfig(), "layer_types with sliding_attention"),
    "Gemma-3 for images and text": (transformers.Gemma3Config(), "layer_types with sliding_attention"),
    "Llama-4": (transformers.Llama4TextConfig(), "layer_types with chunked_attention"),
    "Mamba": (transformers.MambaConfig(), "state_size=16"),
    "Mamba-2": (transformers.Mamba2Config(), "state_size=128"),
    "Jamba": (transformers.JambaConfig(), "mamba_d_state=16"),
    "RWKV": (transformers.RwkvConfig(), "attention_hidden_size=4096"),
    "Qwen3-Next": (transformers.Qwen3NextConfig(), "linear_num_key_heads"),
    "LFM-2": (transformers.Lfm2Config(), "conv_L_cache=3"),
    "MPT": (transformers.MptConfig(), "layers that count columns"),
}


@pytest.mark.parametrize("name", SURVIVE)
def test_full_attention_survives(name: str) -> None:
    for layout in ("aligned", "indexed", "placeholder"):
        check_layout(SURVIVE[name], layout)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DO_NOT)
def test_windows_chunks_and_states_do_not(name: str) -> None:
    config, reason = DO_NOT[name]
    with pytest.raises(LayoutError, match=rf'has {reason}.*use layout="indexed"'):
        check_layout(config, "aligned")
    check_layout(config, "indexed")


def test_a_layout_that_there_is_not() -> None:
    with pytest.raises(OptionError, match="layout='alined': use one of 'aligned'"):
        check_layout(transformers.LlamaConfig(), "alined")  # type: ignore[arg-type]
