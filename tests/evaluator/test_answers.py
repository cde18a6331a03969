"""responses.jsonl survives kills, torn lines and a change of pod, and ends up in the order of the test file."""

import json
from pathlib import Path

import pytest

from retort.data import Row
from retort_evaluate import answers
from retort_evaluate.answers import Answer, AnswerFile, Reply, graded

ROWS = [Row("test", line, f"Question {line}", f"Answer {line}", "c") for line in range(1, 5)]


def answer(model: answers.ModelName, line: int, text: str | None = None) -> Answer:
    return graded(model, ROWS[line - 1], Reply(text or f"Answer {line}", "stop", 10, 3), 0.25)


def filled(path: Path, *order: int) -> AnswerFile:
    with AnswerFile(path) as file:
        for line in order:
            file.add(answer("base", line))
    return file


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_row_says_what_was_answered_and_how_it_was_graded(tmp_path: Path) -> None:
    with AnswerFile(tmp_path / "responses.jsonl") as file:
        file.add(answer("base", 1))
        file.add(answer("merged", 2, "something else"))
    first, second = lines(tmp_path / "responses.jsonl")
    assert first == {
        "model": "base",
        "id": "1",
        "category": "c",
        "response": "Answer 1",
        "finishReason": "stop",
        "passed": True,
        "failed": [],
        "promptTokens": 10,
        "completionTokens": 3,
        "seconds": 0.25,
    }
    assert (second["model"], second["passed"], second["failed"]) == ("merged", False, ["correct"])


def test_an_answer_is_in_the_file_before_the_next_is_asked(tmp_path: Path) -> None:
    with AnswerFile(tmp_path / "responses.jsonl") as file:
        for number in (1, 2, 3):
            file.add(answer("base", number))
            assert len(lines(tmp_path / "responses.jsonl")) == number


@pytest.mark.parametrize("keep", [1, 20, -2, -1])
def test_a_torn_last_line_is_dropped_and_what_follows_is_whole(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "responses.jsonl"
    filled(path, 1, 2, 3)
    whole, last = path.read_bytes().splitlines(keepends=True)[:2], path.read_bytes().splitlines(keepends=True)[2]
    path.write_bytes(b"".join(whole) + last[:keep])
    with AnswerFile(path) as file:
        assert list(file.of("base")) == ["1", "2"]
        assert file.of("merged") == {}
        file.add(answer("base", 3))
        file.add(answer("merged", 1))
    assert [(line["model"], line["id"]) for line in lines(path)] == [
        ("base", "1"), ("base", "2"), ("base", "3"), ("merged", "1"),
    ]  # fmt: skip


def test_answers_read_back_are_the_answers_written(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    texts = ["zwölf ✓", "two\nlines\r\n", "line separator \u2028", "\x00\x1b[31m", "half a pair \ud83d", "</script>"]
    with AnswerFile(path) as file:
        for line, text in enumerate(texts[:4], start=1):
            file.add(answer("base", line, text))
        for line, text in enumerate(texts[4:], start=1):
            file.add(answer("merged", line, text))
    with AnswerFile(path) as again:
        assert [a.reply.text for a in again.of("base").values()] == texts[:4]
        assert [a.reply.text for a in again.of("merged").values()] == texts[4:]
        assert again.of("base") == file.of("base")


def test_the_finished_file_is_in_the_order_of_the_test_file(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    with AnswerFile(path) as file:
        for model in ("merged", "base"):
            for line in (3, 1, 4, 2):
                file.add(answer(model, line))
    file.sort(ROWS)
    assert [(line["id"], line["model"]) for line in lines(path)] == [
        (str(i), model) for i in (1, 2, 3, 4) for model in ("base", "merged")
    ]


def test_a_new_pod_goes_on_from_what_the_old_one_saved(tmp_path: Path, bucket: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    answers.bring_back(bucket, old / "responses.jsonl")
    filled(old / "responses.jsonl", 1, 2)
    answers.save(old / "responses.jsonl", bucket)
    answers.bring_back(bucket, new / "responses.jsonl")
    with AnswerFile(new / "responses.jsonl") as file:
        assert list(file.of("base")) == ["1", "2"]


def test_a_pod_that_has_more_than_was_saved_keeps_what_it_has(tmp_path: Path, bucket: str) -> None:
    path = tmp_path / "responses.jsonl"
    filled(path, 1)
    answers.save(path, bucket)
    filled(path, 2, 3)
    answers.bring_back(bucket, path)
    assert len(lines(path)) == 3


def test_a_local_output_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    filled(path, 1)
    before = path.stat().st_mtime_ns
    answers.bring_back(str(tmp_path), path)
    answers.save(path, str(tmp_path))
    assert path.stat().st_mtime_ns == before
