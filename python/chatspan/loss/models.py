"""Hidden states and the head of a model of transformers, through the model's own forward."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from chatspan.errors import LossError, OptionError, is_a, one_line, quoted
from chatspan.loss.heads import Head
from chatspan.options import one_of

# Logits that tell what a model does to them: 1 the scale, one that is beyond every soft cap the cap. The others must
# come out as scale and cap say.
_LARGE = 1e12
_PROBES = (1.0, _LARGE, -1.0, 1e-3, 3.0, -20.0, 70.0)
# Digits that are left of a scale that was found through a cap, in a model's own single precision.
_DIGITS = 6
# What wrappers call the module inside.
_INSIDE = ("module", "_fsdp_wrapped_module", "_orig_mod")
# Of a batch, what each side has of its own.
_OF_ROWS = (
    *("input_ids", "attention_mask", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k"),
    *("max_length_q", "max_length_k", "seq_idx", "token_type_ids"),
)


@dataclass
class _Seen:
    """What the head was given, and its weight as it was then: gathered, where a wrapper shards it."""

    hidden: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None


def hidden_states_and_head(model: nn.Module, *, vocabulary: int | None = None, **inputs: Any) -> tuple[Tensor, Head]:
    """The last hidden states of a model, and the head that makes its logits of them, for :func:`linear_sdpo_loss`.

    The model is called as it is, wrapper and all, so that DDP and FSDP do what they do in a forward pass; only its head
    projects nothing. What the model does to logits behind its head (Gemma's soft cap, Cohere's and Granite's scale) is
    observed in the same call.

    Args:
        model: a causal language model of transformers (``get_output_embeddings``), also inside of DDP, FSDP or PEFT.
        vocabulary: how many entries of the head are tokens, if it is padded.
        inputs: the model's, such as ``input_ids``, ``attention_mask``, ``position_ids``. With ``logits_to_keep`` the
            hidden states are those of its columns.

    Returns:
        ``[B, T, H]`` with a gradient, and the head. Under FSDP the head's weight must still be gathered when the loss
        is computed: the root module keeps its weights between forward and backward (its default).

    Raises:
        LossError: no head; ``labels`` among the inputs; a model that does something else to its logits.

    Example:
        >>> import torch
        >>> from chatspan.loss import hidden_states_and_head
        >>> from transformers import Qwen2Config, Qwen2ForCausalLM
        >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> model = Qwen2ForCausalLM(Qwen2Config(vocab_size=11, num_key_value_heads=2, **sizes))
        >>> hidden, head = hidden_states_and_head(model, input_ids=torch.tensor([[1, 2, 3]]))
        >>> hidden.shape, torch.equal(head.logits(hidden[0]), model(input_ids=torch.tensor([[1, 2, 3]])).logits[0])
        (torch.Size([1, 3, 8]), True)
    """
    if inputs.get("labels") is not None:
        raise LossError("labels are among the inputs, so the model would compute a loss of its own: leave them out")
    head = _head_of(model)
    seen = _Seen()
    try:
        with _exchanged(head, _observer(head, seen)):
            output = model(**inputs)
    except (IndexError, RuntimeError) as error:
        # Of a model that expects its whole vocabulary behind the head, and of inputs that it does not take.
        raise LossError(
            f"the model raised {type(error).__name__} ({one_line(error)}) with hidden states in place of its logits: "
            "if it runs by itself, use sdpo_loss(…, gathered=True) with its own logits"
        ) from error
    if seen.hidden is None:
        raise LossError(f"{type(model).__name__} did not use its head ({type(head).__name__}): pass its own logits")
    returned = _logits_of(output)
    scale, softcap = _finish_of(returned.detach()[..., 1:].reshape(-1, len(_PROBES))[0].double())
    # Wrappers begin their part of the backward pass at what the model returned.
    hidden: Tensor = _Through.apply(seen.hidden, returned)
    if seen.weight is not None:
        return hidden, Head(seen.weight, seen.bias, scale, softcap, vocabulary)
    return hidden, Head(head, None, scale, softcap, vocabulary)


class _Through(torch.autograd.Function):
    """The first tensor; backward goes through the second, too, with a gradient of 0."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, returned: Tensor) -> Tensor:
        ctx.of_returned = returned.shape, returned.dtype
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        shape, dtype = ctx.of_returned
        return grad, grad.new_zeros(shape, dtype=dtype)


class _Joined(torch.autograd.Function):
    """The first tensor; the others are in its graph, and get no gradient by it."""

    @staticmethod
    def forward(ctx: Any, returned: Tensor, *others: Tensor) -> Tensor:
        ctx.count = len(others)
        return returned.view_as(returned)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (grad, *[None] * ctx.count)


def _head_of(model: Any) -> nn.Module:
    inside = model
    while isinstance(inside, nn.Module):
        found = getattr(inside, "get_output_embeddings", None)
        if callable(found):
            head = found()
            if isinstance(head, nn.Module):
                return head
            break
        inside = next(
            (getattr(inside, name) for name in _INSIDE if isinstance(getattr(inside, name, None), nn.Module)), None
        )
    raise LossError(
        f"model is {type(model).__name__}, which has no head (get_output_embeddings()): use a causal language model "
        "of transformers, or hidden states and a Head of your own"
    )


def model_inputs(
    batch: Mapping[str, Any], model: nn.Module, side: Literal["student", "teacher"] = "student"
) -> dict[str, Any]:
    """What of a distillation collator's batch a model is called with: a side's ids, masks and positions, and its media.

    A teacher's tensors of media that are equal to the student's stand in the batch once, by the student's names; here
    both sides have theirs.

    Args:
        batch: of a distillation collator.
        model: whose ``forward`` names the media that it takes (``pixel_values``, ``mm_token_type_ids`` …); also inside
            of DDP, FSDP or PEFT.
        side: ``"student"`` or ``"teacher"``.

    Raises:
        OptionError: there is no such side, or no batch or model.

    Example:
        >>> import torch
        >>> from chatspan.loss import model_inputs
        >>> batch = {"input_ids": torch.ones(1, 2), "ctx_teacher_input_ids": torch.ones(1, 3), "response_mask": None}
        >>> model_inputs(batch, torch.nn.Identity(), "teacher")
        {'input_ids': tensor([[1., 1., 1.]])}
    """
    if not is_a(batch, Mapping):
        raise OptionError(f"batch is {type(batch).__name__}: pass the dict that a collator makes")
    if not isinstance(model, nn.Module):
        raise OptionError(f"model is {type(model).__name__}: pass the model that is called")
    if not one_of(side, ("student", "teacher")):
        raise OptionError(f'side={quoted(side)}: use "student" or "teacher"')
    prefix = "" if side == "student" else "ctx_teacher_"
    found = {name: batch[f"{prefix}{name}"] for name in _OF_ROWS if f"{prefix}{name}" in batch}
    for name in _parameters(model):
        if name not in (*_OF_ROWS, "labels"):
            value = batch.get(f"{prefix}{name}", batch.get(name))
            if value is not None:
                found[name] = value
    return found


def _parameters(model: nn.Module) -> list[str]:
    """What a model's own forward takes by name, wrappers or not."""
    base: Any = getattr(model, "get_base_model", None)
    inside = base() if callable(base) else model
    names = list(inspect.signature(inside.forward).parameters)
    within = next((each for name in _INSIDE if isinstance(each := getattr(inside, name, None), nn.Module)), None)
    return names if within is None else [*names, *_parameters(within)]


def _observer(head: nn.Module, seen: _Seen) -> Callable[..., Tensor]:
    def forward(hidden: Tensor, *_: Any, **__: Any) -> Tensor:
        seen.hidden = hidden
        if type(head) is nn.Linear:
            seen.weight, seen.bias = head.weight, head.bias
        # In double, since models keep a dtype that is larger than theirs.
        probes = torch.tensor(_PROBES, dtype=torch.float64, device=hidden.device)
        returned = torch.cat([hidden[..., :1].double(), probes.expand(*hidden.shape[:-1], -1)], dim=-1)
        # DDP looks from what a model returns for parameters that have no part in it, and waits for no others.
        joined: Tensor = _Joined.apply(returned, *(each for each in head.parameters() if each.requires_grad))
        return joined

    return forward


@contextmanager
def _exchanged(head: nn.Module, forward: Callable[..., Tensor]) -> Iterator[None]:
    own = vars(head).get("forward")
    head.forward = forward
    try:
        yield
    finally:
        if own is None:
            del head.forward
        else:
            head.forward = own


def _logits_of(output: Any) -> Tensor:
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if logits is None and isinstance(output, (tuple, list)) and output:
        logits = output[0]
    if not isinstance(logits, Tensor) or logits.dim() != 3 or logits.shape[-1] != 1 + len(_PROBES):
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise LossError(
            f"the model's logits are {shape} where its head gave {1 + len(_PROBES)} entries: it does more to them than "
            "scale and cap; use sdpo_loss(…, gathered=True) with its own logits"
        )
    return logits


def _finish_of(found: Tensor) -> tuple[float, float | None]:
    """The scale and the soft cap that made these of the probes.

    Raises:
        LossError: no scale and cap do.
    """
    scale, largest = found[:2].tolist()
    softcap = largest if largest < 0.5 * scale * _LARGE else None
    if softcap is not None:
        scale = float(f"{softcap * torch.atanh(found[0] / softcap).item():.{_DIGITS}g}")
    wanted = scale * torch.tensor(_PROBES, dtype=torch.float64)
    if softcap is not None:
        wanted = softcap * torch.tanh(wanted / softcap)
    if not (0 < scale < float("inf")) or not torch.allclose(found.cpu(), wanted, rtol=1e-4):
        shown = ", ".join(f"{probe:g} → {value:g}" for probe, value in zip(_PROBES, found.tolist(), strict=True))
        raise LossError(
            f"the model makes {shown} of its head's logits, which no scale and soft cap do: use sdpo_loss(…, "
            "gathered=True) with its own logits"
        )
    return scale, softcap
