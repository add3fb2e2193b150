"""Real processors without a hub: transformers' classes with their default parts, and the examples' tokenizer."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import transformers
from transformers import AutoTokenizer
from zoo import EXAMPLES

# As chat templates of vision models write it, with the blocks of `return_assistant_tokens_mask`.
TEMPLATE = """{%- for m in messages -%}
{{- '<|im_start|>' + m['role'] + '\n' -}}
{%- if m['role'] == 'assistant' -%}{%- generation -%}
{%- if m['content'] is string -%}{{- m['content'] -}}{%- else -%}
{%- for part in m['content'] -%}{{- MEDIA[part['type']] if part['type'] in MEDIA else part['text'] -}}{%- endfor -%}
{%- endif -%}{{- '<|im_end|>\n' -}}{%- endgeneration -%}
{%- elif m['content'] is string -%}{{- m['content'] + '<|im_end|>\n' -}}
{%- else -%}
{%- for part in m['content'] -%}{{- MEDIA[part['type']] if part['type'] in MEDIA else part['text'] -}}{%- endfor -%}
{{- '<|im_end|>\n' -}}{%- endif -%}{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"""

# Tokens that processors ask their tokenizer for by these names.
NAMED = {
    **{f"{each}_token": f"<{each}>" for each in ("image", "video", "audio", "boi", "eoi", "boa", "eoa", "eof", "eol")},
    "image_wrapper_token": "<wrapper>",
    "image_break_token": "<break>",
    "image_end_token": "<image_end>",
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    **{f"vision_{each}_token": f"<vision_{each}>" for each in ("start", "end", "bos", "eos")},
    **{f"audio_{each}_token": f"<audio_{each}>" for each in ("bos", "eos")},
    "image_start_token": "<image_start>",
    "video_start_token": "<video_start>",
    "video_end_token": "<video_end>",
    "image_boundary_token": "<boundary>",
    "end_of_utterance_token": "<end_of_utterance>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "img_line_break_token": "<line_break>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
    "grid_bos_token": "<grid>",
    "grid_eos_token": "</grid>",
}
LITERALS = [
    "<sound>",
    "<global-img>",
    "<fake_token_around_image>",
    "<image>",
    "<|image|>",
    "<|patch|>",
    "<|python_tag|>",
]
LITERALS += ["<|image_start|>", "<|image_end|>", "<|tile_x_separator|>", "<|tile_y_separator|>"]
LITERALS += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]


@dataclass(frozen=True)
class Spec:
    """How a processor is made.

    Attributes:
        name: its class.
        model_type: by which transformers finds its parts.
        media: what it takes.
        options: keywords of the class.
        parts: classes of parts that transformers has no mapping for.
        named: tokens by the names that the processor asks for.
        has_bos: whether the tokenizer has a BOS token.
    """

    name: str
    model_type: str
    media: tuple[str, ...] = ("image",)
    options: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    has_bos: bool = False

    def __str__(self) -> str:
        return f"{self.name.removesuffix('Processor')}, {'+'.join(self.media)}"


_QWEN = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
_GLM = {"image_token": "<|image|>", "video_token": "<|video|>"}
_PATCH: dict[str, Any] = {"patch_size": 14, "vision_feature_select_strategy": "default"}
_OMNI = {"image_processor": "Qwen2VLImageProcessor", "video_processor": "Qwen2VLVideoProcessor"}
_OMNI |= {"feature_extractor": "WhisperFeatureExtractor"}
# The first dozen is tested always, the others with --all.
SPECS: tuple[Spec, ...] = (
    Spec("Qwen2VLProcessor", "qwen2_vl", ("image", "video"), named=_QWEN),
    Spec("Qwen3VLProcessor", "qwen3_vl", ("image",), named=_QWEN),
    Spec("Gemma3Processor", "gemma3"),
    Spec("LlavaProcessor", "llava", options={**_PATCH, "num_additional_image_tokens": 1}),
    Spec(
        "LlavaOnevisionProcessor",
        "llava_onevision",
        ("image", "video"),
        options={"num_image_tokens": 729, "vision_feature_select_strategy": "full"},
    ),
    Spec("Idefics3Processor", "idefics3"),
    Spec(
        "InternVLProcessor",
        "internvl",
        ("image", "video"),
        parts={"image_processor": "GotOcr2ImageProcessor"},
    ),
    Spec("PixtralProcessor", "pixtral"),
    Spec("MllamaProcessor", "mllama", named={"image_token": "<|image|>"}, has_bos=True),
    Spec("Emu3Processor", "emu3", has_bos=True),
    Spec("Qwen2AudioProcessor", "qwen2_audio", ("audio",), named={"audio_token": "<|AUDIO|>"}),
    Spec("Qwen2_5OmniProcessor", "qwen2_5_omni", ("audio", "video"), parts=_OMNI),
    Spec("Qwen2_5_VLProcessor", "qwen2_5_vl", ("image", "video"), named=_QWEN),
    Spec("Gemma3nProcessor", "gemma3n", ("image",)),
    Spec("Gemma3nProcessor", "gemma3n", ("audio",)),
    Spec("Gemma4Processor", "gemma4", ("image",)),
    Spec("Gemma4Processor", "gemma4", ("audio",)),
    Spec("LlavaNextProcessor", "llava_next", options={**_PATCH, "num_additional_image_tokens": 1}),
    Spec("LlavaNextVideoProcessor", "llava_next_video", ("image", "video"), options=_PATCH),
    Spec("Llama4Processor", "llama4"),
    Spec("Phi4MultimodalProcessor", "phi4_multimodal", ("image",)),
    Spec("Phi4MultimodalProcessor", "phi4_multimodal", ("audio",)),
    Spec("AriaProcessor", "aria"),
    Spec("Glm4vProcessor", "glm4v", named=_GLM),
    Spec("Glm46VProcessor", "glm46v", named=_GLM),
    Spec("Kimi_K25Processor", "kimi_k25", named={"image_token": "<|media_pad|>", "video_token": "<|media_video|>"}),
    Spec("Qwen3OmniMoeProcessor", "qwen3_omni_moe", ("audio",), parts=_OMNI),
    Spec("Lfm2VlProcessor", "lfm2_vl"),
    Spec("AyaVisionProcessor", "aya_vision", parts={"image_processor": "GotOcr2ImageProcessor"}),
    Spec("Cohere2VisionProcessor", "cohere2_vision"),
    Spec("Ernie4_5_VLMoeProcessor", "ernie4_5_vl_moe"),
    Spec("DeepseekVLProcessor", "deepseek_vl"),
    Spec("Molmo2Processor", "molmo2", named={"image_token": "<|image|>"}, has_bos=True),
    Spec("MiniCPMV4_6Processor", "minicpmv4_6"),
    Spec("Ovis2Processor", "ovis2"),
    Spec("PerceptionLMProcessor", "perception_lm", options={"patch_size": 14}),
    Spec("Idefics2Processor", "idefics2"),
    Spec("HyperCLOVAXVisionV2Processor", "hyperclovax_vision_v2", named=_QWEN),
    Spec("ChameleonProcessor", "chameleon"),
    Spec("VideoLlama3Processor", "video_llama_3"),
    Spec("Step3p7Processor", "step3p7"),
    Spec("Granite4VisionProcessor", "granite4_vision", options=_PATCH),
    Spec("LightOnOcrProcessor", "lighton_ocr"),
    Spec("QianfanOCRProcessor", "qianfan_ocr"),
    Spec("JanusProcessor", "janus"),
    Spec("AudioFlamingo3Processor", "audioflamingo3", ("audio",)),
    Spec("Cosmos3EdgeProcessor", "cosmos3_edge"),
    Spec("Exaone4_5_Processor", "exaone4_5"),
    Spec("DeepseekVLHybridProcessor", "deepseek_vl_hybrid"),
    Spec("PaddleOCRVLProcessor", "paddleocr_vl"),
    Spec("GlmAsrProcessor", "glmasr", ("audio",)),
    Spec("Lfm3VlProcessor", "lfm3_vl"),
    Spec("GraniteDoclingProcessor", "granite_docling"),
    Spec("VideoLlavaProcessor", "video_llava"),
    Spec("Glm5NextProcessor", "glm5_next"),
    Spec("HYV4VLProcessor", "hy_v4_vl"),
    Spec("MiniCPMOcrProcessor", "minicpm_ocr"),
    Spec("MiniCPMV4_7Processor", "minicpmv4_7"),
    Spec("MiniMaxM3VLProcessor", "minimax_m3_vl"),
    Spec("Dots3NoteProcessor", "dots3_note"),
    Spec("Dots3NoteProcessor", "dots3_note", ("audio",)),
    Spec("Inkling2Processor", "inkling2"),
    Spec("Gemma4UnifiedProcessor", "gemma4_unified"),
    Spec("Gemma4UnifiedProcessor", "gemma4_unified", ("audio",)),
    Spec("UnlimitedOcrProcessor", "unlimited_ocr"),
    Spec("DeepseekOcr2Processor", "deepseek_ocr2"),
    Spec("Apertus1p5Processor", "apertus1p5"),
    Spec("Apertus1p5Processor", "apertus1p5", ("audio",)),
    Spec("EmbeddingGemma2Processor", "embedding_gemma2"),
    Spec("EmbeddingGemma2Processor", "embedding_gemma2", ("audio",)),
    Spec("Qwen3ASRProcessor", "qwen3_asr", ("audio",)),
    Spec("VibeVoiceAsrProcessor", "vibevoice_asr", ("audio",)),
    Spec("MuseSparkProcessor", "muse_spark"),
    Spec("MuseSparkProcessor", "muse_spark", ("audio",)),
    Spec("MuseGlimmerProcessor", "muse_glimmer"),
    Spec("MossTranscribeDiarizeProcessor", "moss_transcribe_diarize", ("audio",)),
)
MODALITIES = ("image", "video", "audio")
PALIGEMMA = Spec("PaliGemmaProcessor", "paligemma", has_bos=True)
DOZEN = SPECS[:12]


def tokenizer_with(spec: Spec, more: Sequence[str]) -> Any:
    """The examples' tokenizer with tokens of the names that processors ask for."""
    named = {**NAMED, **spec.named}
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "tokenizer")
    tokens = dict.fromkeys([*named.values(), *LITERALS, *more])
    new = [transformers.AddedToken(token, special=True, normalized=False) for token in tokens]
    tokenizer.add_tokens(new, special_tokens=True)
    tokenizer.sep_token = "<|python_tag|>"
    if spec.has_bos:
        tokenizer.bos_token = "<|begin_of_text|>"
    for name, token in named.items():
        object.__setattr__(tokenizer, name, token)
        object.__setattr__(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
    return tokenizer


@functools.cache
def built(name: str, model_type: str, media: tuple[str, ...]) -> Any:
    """The processor of a spec.

    Raises:
        Exception: transformers cannot make it here; with its reason.
    """
    [spec] = (
        each for each in (*SPECS, PALIGEMMA) if (each.name, each.model_type, each.media) == (name, model_type, media)
    )
    # What it writes is known once it is there.
    first = _made(spec, tokenizer_with(spec, ()))
    own = [
        str(getattr(value, "content", value)) for key, value in vars(first).items() if key.endswith("_token") and value
    ]
    processor = _made(spec, tokenizer_with(spec, own))
    media_of = dict.fromkeys(MODALITIES, "")
    for modality in MODALITIES:
        # The first that it takes; what none has, no chat has.
        for token in reversed(placeholders(processor, modality)):
            media_of[modality] = token
            processor.chat_template = _template(media_of)
            if modality in media and _takes(processor, medium(modality, 0)):
                break
    processor.chat_template = _template(media_of)
    return processor


def _template(media_of: dict[str, str]) -> str:
    return TEMPLATE.replace("MEDIA", repr({key: value for key, value in media_of.items() if value}))


def _takes(processor: Any, part: dict[str, Any]) -> bool:
    try:
        own_call(processor, [{"role": "user", "content": [part, {"type": "text", "text": "a"}]}])
    except Exception:
        return False
    return True


def built_or_skipped(spec: Spec) -> Any:
    """The processor of a spec, in tests that skip what a version of transformers lacks, or wants for it."""
    try:
        return built(spec.name, spec.model_type, spec.media)
    except Exception as error:
        pytest.skip(f"{spec} cannot be made here: {type(error).__name__}: {str(error).strip():.80}")


def processor_of(name: str) -> Any:
    """The first whose class begins so, with a pad token, as batches need one."""
    processor = built_or_skipped(next(each for each in SPECS if each.name.startswith(name)))
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = "<|endoftext|>"
    return processor


def own_call(processor: Any, messages: list[Any], *, options: dict[str, Any] | None = None, **keywords: Any) -> Any:
    """transformers' own.

    Args:
        options: of the processor's call, which older versions take among the others.
    """
    options = options or {}
    if "processor_kwargs" in inspect.signature(type(processor).apply_chat_template).parameters:
        options = {"processor_kwargs": options}
    return processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", **keywords, **options
    )


def placeholders(processor: Any, modality: str) -> list[str]:
    """What a template may write for a medium."""
    names = (*(["boi_token"] if modality == "image" else []), f"{modality}_token", f"{modality}_placeholder_token")
    tokens = (getattr(processor, name, None) for name in names)
    return [str(getattr(token, "content", token)) for token in tokens if token]


def _made(spec: Spec, tokenizer: Any) -> Any:
    kind = getattr(transformers, spec.name)
    wanted = inspect.signature(kind.__init__).parameters
    parts: dict[str, Any] = {}
    for part, mapping in (
        ("image_processor", "IMAGE_PROCESSOR_MAPPING_NAMES"),
        ("video_processor", "VIDEO_PROCESSOR_MAPPING_NAMES"),
        ("feature_extractor", "FEATURE_EXTRACTOR_MAPPING_NAMES"),
        ("audio_processor", "FEATURE_EXTRACTOR_MAPPING_NAMES"),
    ):
        if part in wanted:
            name = spec.parts.get(part) or _known(mapping, spec.model_type) or _named(kind, part)
            parts[part] = None if name is None else getattr(transformers, name)()
    if hasattr(kind, "attributes"):
        # Before 5 a processor takes parts of the classes alone that it names.
        classes = {f"{name}_class": type(each).__name__ for name, each in (*parts.items(), ("tokenizer", tokenizer))}
        kind = type(kind.__name__, (kind,), {**classes, "__module__": kind.__module__})
    return kind(**({"tokenizer": tokenizer} if "tokenizer" in wanted else {}), **parts, **spec.options)


def _named(kind: Any, part: str) -> str | None:
    """The class that a processor names for a part itself, as those before 5 do."""
    found = getattr(kind, f"{part}_class", None)
    name = found if found is None or isinstance(found, str) else next(each for each in found if each)
    return None if name is None or name.startswith("Auto") else name


def _known(mapping: str, model_type: str) -> str | None:
    for name in ("image_processing_auto", "video_processing_auto", "feature_extraction_auto"):
        try:
            module = importlib.import_module(f"transformers.models.auto.{name}")
        # Of videos before 4.52.
        except ImportError:
            continue
        found = getattr(module, mapping, {}).get(model_type)
        if found is not None:
            if isinstance(found, dict):
                return found.get("torchvision") or found.get("pil")
            return found if isinstance(found, str) else next(each for each in reversed(found) if each)
    return None


def image(width: int, height: int) -> Any:
    """Noise, the same for the same size."""
    from PIL import Image

    noise = np.random.default_rng(width * 7 + height).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def medium(modality: str, number: int) -> dict[str, Any]:
    """A part with a medium."""
    if modality == "image":
        return {"type": "image", "image": image(*[(150, 100), (45, 170), (224, 224), (64, 64)][number % 4])}
    random = np.random.default_rng(number)
    if modality == "video":
        return {"type": "video", "video": random.integers(0, 255, (8, 56, 56, 3), dtype=np.uint8)}
    return {"type": "audio", "audio": random.normal(size=8000).astype(np.float32) * 0.1}
