"""``chatspan teacher``: a data set scored by a model or over HTTP, and found again for a trainer's batch."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from chatspan import DistillationConfig, SelfDistillationCollator
from chatspan.shards.teacher_store import TeacherStore
from commands import chatspan
from scoring import Scorer
from transformers import Qwen2Config, Qwen2ForCausalLM
from zoo import REPO

TOKENIZER = str(REPO / "examples" / "tokenizer")
ANSWERS = ("It is 4.", "To Köln, at nine.", "é 🚆")
ROWS = [
    {
        "messages": [{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": answer}],
        "teacher_messages": [
            {"role": "user", "content": f"Question {n}? (It is: {answer})"},
            {"role": "assistant", "content": answer},
        ],
    }
    for n, answer in enumerate(ANSWERS)
]
# Without a teacher's conversation: it sees what the student does.
ROWS.append({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random one on the disk."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    options = {**sizes, "num_key_value_heads": 1, "vocab_size": 751, "initializer_range": 0.4}
    path = tmp_path_factory.mktemp("model")
    Qwen2ForCausalLM(Qwen2Config(**options)).save_pretrained(path)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return str(path)


@contextmanager
def serving(answer: Callable[[str, Any], tuple[int, Any]]) -> Iterator[str]:
    """A server on this machine, of what answers a path and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: Any) -> None:
            status, given = answer(self.path, body)
            data = json.dumps(given).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Server:
    """Answers as vLLM or SGLang, from a model, and notes what it was asked."""

    def __init__(self, model: Path) -> None:
        self.scorer = Scorer(Qwen2ForCausalLM.from_pretrained(model).eval(), 4)
        self.asked: list[Any] = []
        self.fails_after: int | None = None

    def __call__(self, path: str, body: Any) -> tuple[int, Any]:
        if path == "/v1/models":
            return 200, {"data": [{"id": "tiny-teacher"}]}
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            return 500, {"error": "out of memory"}
        self.asked.append(body)
        if path == "/generate":
            assert (body["logprob_start_len"], body["return_logprob"], body["top_logprobs_num"]) == (0, True, 4)
            return 200, self.scorer.sglang(body["input_ids"])
        assert path == "/v1/completions"
        assert (body["model"], body["prompt_logprobs"], body["return_token_ids"]) == ("tiny-teacher", 4, True)
        return 200, self.scorer.vllm(body["prompt"])


def batch_of(small: Any) -> Any:
    """As a trainer makes it: left-padded, in another order."""
    collate = SelfDistillationCollator(small, DistillationConfig(layout="indexed", padding_side="left"))
    return collate([{"teacher_messages": row["messages"], **row} for row in ROWS[::-1]])


def assert_found(store: TeacherStore, batch: Any, model: Path) -> None:
    """The four likeliest of the model's own logits on the batch, and the token itself."""
    assert store.missing(batch) == []
    keys = ("input_ids", "attention_mask", "position_ids")
    loaded = Qwen2ForCausalLM.from_pretrained(model).eval()
    with torch.no_grad():
        logits = loaded(**{key: batch[f"ctx_teacher_{key}"] for key in keys}).logits.log_softmax(-1)
    top_k = store.top_k_of(batch)
    for row, entry in batch["response_idx_mask"].nonzero().tolist():
        log_probs = logits[row, batch["teacher_logit_idx"][row, entry]]
        own = int(batch["ctx_teacher_input_ids"][row, batch["teacher_response_idx"][row, entry]])
        ids = [each for each in top_k.ids[row, entry].tolist() if each >= 0]
        assert set(ids) == {*log_probs.topk(4).indices.tolist(), own}
        torch.testing.assert_close(top_k.logprobs[row, entry, : len(ids)], log_probs[ids], rtol=1e-4, atol=1e-4)


def test_a_model_that_is_loaded(small: Any, model: Path, rows: str, tmp_path: Path) -> None:
    out = str(tmp_path / "teacher")
    command = ("teacher", rows, "-t", TOKENIZER, "--out", out, "--model", str(model), "--top-k", "4")
    done = chatspan(*command)
    assert done.returncode == 0, done.stderr
    batch = batch_of(small)
    tokens = int(batch["response_idx_mask"].sum())
    assert done.stdout == f"4 rows: {tokens} tokens scored, 0 were there; in {out}\n"
    assert_found(TeacherStore(out, teacher=str(model)), batch, model)
    again = chatspan(*command, "--json")
    counts = {"rows": 4, "failed": 0, "tokens": tokens, "tokens_before": tokens}
    assert json.loads(again.stdout) == {"out": out, **counts}


@pytest.mark.parametrize("api", ["vllm", "sglang"])
def test_a_server(small: Any, model: Path, rows: str, tmp_path: Path, api: str) -> None:
    out, server = str(tmp_path / "teacher"), Server(model)
    with serving(server) as url:
        done = chatspan(
            *("teacher", rows, "-t", TOKENIZER, "--out", out, "--server", f"{url}/v1", "--api", api),
            *("--top-k", "4", "--prompts-at-once", "3"),
        )
    assert done.returncode == 0, done.stderr
    assert [len(body.get("prompt") or body["input_ids"]) for body in server.asked] == [3, 1]
    assert_found(TeacherStore(out, teacher="tiny-teacher"), batch_of(small), model)


def test_a_run_that_was_ended_asks_for_the_rest_alone(small: Any, model: Path, rows: str, tmp_path: Path) -> None:
    out, server = str(tmp_path / "teacher"), Server(model)
    server.fails_after = 2
    with serving(server) as url:
        command = ("teacher", rows, "-t", TOKENIZER, "--out", out, "--server", url, "--top-k", "4")
        done = chatspan(*command, "--prompts-at-once", "1")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith(f'chatspan: {url}/v1/completions answered 500: {{"error": "out of memory"}}\n')
        server.fails_after = None
        done = chatspan(*command, "--prompts-at-once", "1")
    assert done.returncode == 0
    prompts = [tuple(body["prompt"][0]) for body in server.asked]
    assert len(prompts) == len(set(prompts)) == len(ROWS)
    assert_found(TeacherStore(out, teacher="tiny-teacher"), batch_of(small), model)


def test_a_row_that_fails_is_named_and_the_others_are_scored(model: Path, rows: str, tmp_path: Path) -> None:
    with Path(rows).open("a", encoding="utf-8") as file:
        file.write('{"messages": 3}\n')
    done = chatspan("teacher", rows, "-t", TOKENIZER, "--out", str(tmp_path / "a"), "--model", str(model))
    assert done.returncode == 1
    assert ["rows.jsonl:5" in line for line in done.stderr.splitlines()].count(True) == 1
    assert "%" not in done.stderr
    assert done.stdout.startswith("5 rows: ")
    assert done.stdout.endswith("; 1 row failed\n")


def test_what_is_no_teacher(rows: str, tmp_path: Path) -> None:
    common = ("teacher", rows, "-t", TOKENIZER, "--out", str(tmp_path / "a"))
    for given in ((), ("--model", "a", "--server", "http://a")):
        assert chatspan(*common, *given).stderr == "chatspan: use either --model NAME or --server URL for the teacher\n"
    for given, words in (
        (
            ("--server", "localhost:8000"),
            "server='localhost:8000': expected its address, such as http://localhost:8000",
        ),
        (("--server", "http://127.0.0.1:9"), "http://127.0.0.1:9/v1/models cannot be reached"),
        (("--model", str(tmp_path / "none")), "cannot load the model"),
    ):
        done = chatspan(*common, *given)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    with serving(lambda path, body: (200, {"data": []})) as url:
        assert "names no model, but {'data': []}" in chatspan(*common, "--server", url).stderr
    with serving(lambda path, body: (200, {"data": [{"id": "a"}]} if body is None else {"choices": []})) as url:
        done = chatspan(*common, "--server", url)
        assert (done.returncode, "choices is []: expected one choice for each prompt" in done.stderr) == (1, True)
