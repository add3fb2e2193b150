"""Who scores prompts: a server, or a model that is loaded here. Both answer as :func:`top_k_of` reads it."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, Literal

from chatspan.distillation.teachers.prompts import TeacherPrompt
from chatspan.errors import EngineError, OptionError, one_line, quoted

Api = Literal["vllm", "sglang"]

# Prompts of many thousand tokens wait in a server's queue.
_SECONDS = 600.0


class ServedTeacher:
    """A server of vLLM or SGLang.

    Args:
        url: such as ``"http://localhost:8000"``.
        api: which one it is.
        top_k: how many entries to ask for of each token.
        name: of the model; the first that the server serves, if ``None``.

    Raises:
        OptionError: an address that is none.
        EngineError: the server cannot be reached, or serves no model.
    """

    def __init__(self, url: str, *, api: Api = "vllm", top_k: int = 20, name: str | None = None) -> None:
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise OptionError(f"server={quoted(url)}: expected its address, such as http://localhost:8000")
        self._url = url.rstrip("/").removesuffix("/v1")
        self._api, self._top_k = api, top_k
        self.name = self._served() if name is None else name

    def __call__(self, prompts: Sequence[TeacherPrompt]) -> Any:
        """The server's answer to all prompts, asked at once.

        Raises:
            EngineError: it cannot be reached, or refuses; with what it says.
        """
        ids = [prompt.input_ids for prompt in prompts]
        if self._api == "sglang":
            asked = {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": self._top_k}
            return self._json("/generate", {"input_ids": ids, "sampling_params": {"max_new_tokens": 1}, **asked})
        asked = {"max_tokens": 1, "prompt_logprobs": self._top_k, "return_token_ids": True}
        return self._json("/v1/completions", {"model": self.name, "prompt": ids, **asked})

    def _served(self) -> str:
        models = self._json("/v1/models")
        try:
            name = models["data"][0]["id"]
        except (LookupError, TypeError):
            name = None
        if not isinstance(name, str):
            raise EngineError(f"{self._url}/v1/models names no model, but {quoted(models)}: is it vLLM or SGLang?")
        return name

    def _json(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            said = error.read(500).decode(errors="replace")
            raise EngineError(f"{self._url}{path} answered {error.code}: {one_line(ValueError(said))}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise EngineError(
                f"{self._url}{path} cannot be reached ({one_line(error)}): check that the server is running"
            ) from None


class LoadedTeacher:
    """A causal language model of transformers.

    Args:
        model: in evaluation mode.
        name: of it.
        top_k: how many entries to keep of each token.

    Example:
        >>> from transformers import Qwen2Config, Qwen2ForCausalLM
        >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        >>> config = Qwen2Config(vocab_size=9, num_key_value_heads=1, **sizes)
        >>> score = LoadedTeacher(Qwen2ForCausalLM(config).eval(), "tiny", top_k=9)
        >>> [choice] = score([TeacherPrompt(row=0, input_ids=[5, 6, 7], positions=[2], entries=[0])])["choices"]
        >>> choice["prompt_logprobs"][:2], len(choice["prompt_logprobs"][2])
        ([None, None], 9)
    """

    def __init__(self, model: Any, name: str, *, top_k: int = 20) -> None:
        self._model, self.name, self._top_k = model, name, top_k

    def __call__(self, prompts: Sequence[TeacherPrompt]) -> Any:
        """The answers, as vLLM would give them, to one prompt after the other; of in-loss tokens alone."""
        return {"choices": [self._scored(prompt) for prompt in prompts]}

    def _scored(self, prompt: TeacherPrompt) -> dict[str, Any]:
        import torch  # loads for seconds

        ids = torch.tensor([prompt.input_ids], device=self._model.device)
        predicted_by = torch.tensor(prompt.positions, device=ids.device) - 1
        with torch.inference_mode():
            # Logits of all tokens would be the largest tensor by far.
            logits = self._model(input_ids=ids, use_cache=False, logits_to_keep=predicted_by).logits[0]
            log_probs = logits.float().log_softmax(-1)
            top = log_probs.topk(min(self._top_k, log_probs.shape[-1]))
            own = log_probs.gather(-1, ids[0, prompt.positions].unsqueeze(-1)).squeeze(-1)
        rows: list[Any] = [None] * len(prompt.input_ids)
        parts = (top.values.tolist(), top.indices.tolist(), own.tolist(), prompt.positions)
        for values, tokens, own_value, position in zip(*parts, strict=True):
            rows[position] = {**dict(zip(tokens, values, strict=True)), prompt.input_ids[position]: own_value}
        return {"prompt_token_ids": prompt.input_ids, "prompt_logprobs": rows}
