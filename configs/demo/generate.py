"""Writes the demo's data from a seed and from what the base model really answered: the same bytes every time.

    python3 configs/demo/generate.py           writes self_critique.jsonl, hard_failures.jsonl and test.jsonl
    python3 configs/demo/generate.py --check   fails if what is there differs

Training rows are failures only, as a team would collect them: a task that the base model got right is left out.
"""

import hashlib
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from critique import critique
from tasks import ALL_WORDS, Task, Words, task, training_words

HERE = Path(__file__).parent
BASE_ANSWERS = HERE / "base_answers.jsonl"
SEED = 17
TRAINING_ROWS = dict.fromkeys(["orders", "bookings", "readings", "shopping", "invoices", "contacts"], 40)
TEST_ROWS = dict.fromkeys(TRAINING_ROWS, 15) | {"copies": 6, "capitals": 6}
SELF_CRITIQUE_SHARE = 3  # one failure in three got a critique, as in the runs this follows


@dataclass(frozen=True)
class BaseAnswer:
    """What the base model said to a training task; `finished` if it ended the answer itself."""

    instruction: str
    answer: str
    finished: bool


def training_tasks() -> list[Task]:
    """Tasks to look for failures in, in the order of the training files."""
    return _distinct_tasks(TRAINING_ROWS, f"{SEED}:train", seen=set(), words=training_words())


def test_tasks() -> list[Task]:
    """The test set, which has no instruction of a training task."""
    seen = {asked.instruction for asked in training_tasks()}
    return _distinct_tasks(TEST_ROWS, f"{SEED}:test", seen, words=ALL_WORDS)


def recorded_answers() -> dict[str, BaseAnswer]:
    """Instruction → what the base model said to it."""
    if not BASE_ANSWERS.exists():
        return {}
    answers = [BaseAnswer(**json.loads(line)) for line in BASE_ANSWERS.read_text(encoding="utf-8").splitlines()]
    return {answer.instruction: answer for answer in answers}


def files() -> dict[str, str]:
    """Name → content of every generated file. Raises ValueError if a task was never put to the base model."""
    answer_to = recorded_answers()
    self_critique, hard_failures = [], []
    for asked in training_tasks():
        if asked.instruction not in answer_to:
            raise ValueError(f"{BASE_ANSWERS}: no answer to {asked.instruction!r}; run ask_base_model.py")
        base = answer_to[asked.instruction]
        found = critique(base.answer, base.finished, asked.answer)
        if found is None:
            continue
        if (len(self_critique) + len(hard_failures)) % SELF_CRITIQUE_SHARE == 0 and base.answer:
            self_critique.append(_self_critique_row(asked, base, found))
        else:
            hard_failures.append(_reference_row(asked))
    return {
        "self_critique.jsonl": _jsonl(self_critique),
        "hard_failures.jsonl": _jsonl(hard_failures),
        "test.jsonl": _jsonl([_reference_row(asked) for asked in test_tasks()]),
    }


def _distinct_tasks(rows: dict[str, int], seed: str, seen: set[str], words: Words) -> list[Task]:
    """As many tasks of each category as `rows` says, shuffled; no instruction twice, and none that is in `seen`.

    Each category draws for itself, so that a change to one leaves the rows of the others, and what the model said to
    them, as they are.
    """
    tasks: dict[str, Task] = {}
    for category, count in rows.items():
        rng = random.Random(f"{seed}:{category}")
        wanted = len(tasks) + count
        while len(tasks) < wanted:
            drawn = task(category, rng, words)
            if drawn.instruction not in seen:
                tasks[drawn.instruction] = drawn
    return sorted(tasks.values(), key=lambda drawn: hashlib.sha256(f"{seed}:{drawn.instruction}".encode()).digest())


def _self_critique_row(asked: Task, base: BaseAnswer, found: str) -> dict[str, Any]:
    meta = {"critique": found, "category": asked.category}
    return {"instruction": asked.instruction, "input": base.answer, "output": asked.answer, "meta": meta}


def _reference_row(asked: Task) -> dict[str, Any]:
    return {"instruction": asked.instruction, "reference_answer": asked.answer, "category": asked.category}


def _jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main(check: bool) -> int:
    stale = [name for name, content in files().items() if _content(HERE / name) != content]
    if check:
        for name in stale:
            print(f"{HERE / name}: is not what generate.py writes; run python3 {__file__}", file=sys.stderr)
        return 1 if stale else 0
    for name, content in files().items():
        (HERE / name).write_text(content, encoding="utf-8")
        print(f"{HERE / name}: {content.count(chr(10))} rows{'' if name in stale else ', unchanged'}")
    return 0


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main(check=sys.argv[1:] == ["--check"]))
