"""The data report: what it says of data that is fine, leaky, too long or broken, and its exit code."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_storage import bucket as bucket  # a fixture
from transformers import PreTrainedTokenizerBase

from retort import storage
from retort.chat import encode
from retort.data_report import main

ROOT = Path(__file__).parents[2]
Say = pytest.CaptureFixture[str]


def reference(instruction: str, answer: str = "a", category: str = "c") -> dict[str, Any]:
    return {"instruction": instruction, "reference_answer": answer, "category": category}


def self_critique(instruction: str, answer: str = "a") -> dict[str, Any]:
    return {"instruction": instruction, "input": "bad", "output": answer, "meta": {"critique": "why"}}


@pytest.fixture(autouse=True)
def in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check_file(
    model: Path | str | None = None, *, max_tokens: int = 2048, row_limit: int | None = None, **files: Any
) -> str:
    """Writes each file's rows (or bytes) and the check that names them; returns the check's path."""
    data: dict[str, Any] = {"maxTokens": max_tokens, "rowLimit": row_limit, "selfCritiqueFormat": "answer"}
    for kind, rows in files.items():
        path = Path(f"{kind}.jsonl").absolute()
        path.write_bytes(rows if isinstance(rows, bytes) else b"".join(json.dumps(r).encode() + b"\n" for r in rows))
        data[kind] = str(path)
    Path("check.json").write_text(json.dumps({"data": data, "model": str(model) if model else None}))
    return "check.json"


def test_says_rows_coverage_first_row_categories_and_lengths(
    tiny_model: Path, tokenizer: PreTrainedTokenizerBase, capsys: Say
) -> None:
    hard = [reference("one\nline", "x"), reference("two", "yy", "d"), reference("three", "z" * 50)]
    critiques = [self_critique("four") | {"note": "n"}, self_critique("five")]
    check = check_file(tiny_model, selfCritique=critiques, hardFailures=hard, test=[reference("six")])
    assert main([check]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lengths = sorted(len(encode(tokenizer, row["instruction"], row["reference_answer"])) for row in hard)
    of_critique, of_hard, of_test = (part.splitlines() for part in printed.out.rstrip().split("\n\n"))
    assert of_critique[:6] == [
        "selfCritique  selfCritique.jsonl  2 rows",
        "  instruction       100 %  four",
        "  input             100 %  bad",
        "  output            100 %  a",
        "  meta.critique     100 %  why",
        "  note             50.0 %  n",
    ]
    assert of_hard == [
        "hardFailures  hardFailures.jsonl  3 rows",
        r"  instruction       100 %  one\nline",
        "  reference_answer  100 %  x",
        "  category          100 %  c",
        "  categories       c 2, d 1",
        f"  tokens           {lengths[0]} to {lengths[2]} a row, median {lengths[1]}, 95 % up to {lengths[2]}",
        "  in test set      none",
    ]
    assert not any("in test set" in line for line in of_test)


def test_finds_training_rows_of_the_test_set_however_they_are_spaced(capsys: Say) -> None:
    hard = [reference("a  caf\u00e9"), reference("b"), reference("c"), reference("d")]
    assert main([check_file(hardFailures=hard, test=[reference("a cafe\u0301\n"), reference("z")])]) == 0
    assert (
        "  in test set      1 of 4 rows (25.0 %): a pass rate on them would measure memory\n" in capsys.readouterr().out
    )


def test_counts_rows_given_twice_and_instructions_with_two_answers_across_files(capsys: Say) -> None:
    hard = [reference("a", "1"), reference("a", "1"), reference(" a", "1"), reference("b", "1")]
    check = check_file(
        selfCritique=[self_critique("b", "2"), self_critique("a", "1")], hardFailures=hard, test=[reference("z")]
    )
    assert main([check]) == 0
    of_critique, of_hard, _ = capsys.readouterr().out.split("\n\n", 2)
    assert "  twice            1 of the rows, word for word" in of_hard
    assert "twice" not in of_critique
    two_answers = "  two answers      1 of the instructions, in the training files together"
    assert two_answers in of_hard
    assert two_answers in of_critique


def long_rows(long: int, of: int) -> list[dict[str, Any]]:
    return [reference(str(i), "x" * (500 if i < long else 5)) for i in range(of)]


def test_rows_over_max_tokens_are_counted_and_5_percent_of_them_are_borne(tiny_model: Path, capsys: Say) -> None:
    check = check_file(tiny_model, max_tokens=300, hardFailures=long_rows(2, of=40), test=[reference("z", "x" * 900)])
    assert main([check]) == 0
    assert (
        "  too long         2 of 40 rows (5.0 %) are over data.maxTokens = 300: left out, never cut"
        in capsys.readouterr().out
    )


def test_a_row_of_exactly_max_tokens_is_not_too_long(
    tiny_model: Path, tokenizer: PreTrainedTokenizerBase, capsys: Say
) -> None:
    tokens = len(encode(tokenizer, "i", "a"))
    rows = [reference("i")]
    assert main([check_file(tiny_model, max_tokens=tokens, hardFailures=rows, test=rows)]) == 0
    assert "too long" not in capsys.readouterr().out
    assert main([check_file(tiny_model, max_tokens=tokens - 1, hardFailures=rows, test=rows)]) == 2


def test_more_than_5_percent_over_max_tokens_stop_the_run(tiny_model: Path, capsys: Say) -> None:
    check = check_file(tiny_model, max_tokens=300, hardFailures=long_rows(3, of=40), test=[reference("z")])
    assert main([check]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("hardFailures  hardFailures.jsonl  40 rows\n")
    problem, *rows = printed.err.splitlines()
    assert problem == (
        "3 of 40 training rows are longer than data.maxTokens = 300; at most 5 % may be left out. "
        "Raise it, or shorten these:"
    )
    assert [row.split(": ")[0] for row in rows] == [f"hardFailures.jsonl:{line}" for line in (1, 2, 3)]


def test_a_row_limit_is_said_and_only_those_rows_are_looked_into(capsys: Say) -> None:
    hard = [reference("a"), reference("b"), reference("z")]
    assert (
        main([check_file(row_limit=2, hardFailures=hard, test=[reference("z"), reference("y"), reference("x")])]) == 0
    )
    of_hard = capsys.readouterr().out.split("\n\n")[0]
    assert "hardFailures.jsonl  3 rows" in of_hard
    assert "  in use           the first 2 rows (data.rowLimit); the following is about them" in of_hard
    assert "  categories       c 2" in of_hard
    assert "  in test set      none" in of_hard


def test_problems_of_all_files_go_to_stderr_and_coverage_is_shown_all_the_same(capsys: Say) -> None:
    hard = b"".join(json.dumps(reference(str(i)) if i else {"instruction": "i"}).encode() + b"\n" for i in range(2000))
    assert main([check_file(hardFailures=hard, test=b"\xff\n")]) == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        'hardFailures.jsonl:1: "reference_answer" is missing',
        'hardFailures.jsonl:1: "category" is missing',
        "test.jsonl:1: not UTF-8: byte 1 of the line is 0xff",
    ]
    assert "  reference_answer 99.9 %  " in printed.out


def test_a_model_that_is_not_there_is_the_users_mistake(tmp_path: Path, capsys: Say) -> None:
    check = check_file(tmp_path / "no-model", hardFailures=[reference("a")], test=[reference("z")])
    assert main([check]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/no-model: no such model directory (model.base)\n"


@pytest.mark.usefixtures("bucket")
def test_data_and_tokenizer_come_from_a_store_and_the_weights_are_not_fetched(
    tiny_model: Path, tmp_path: Path, capsys: Say
) -> None:
    bucket = "s3://retort"
    for file in tiny_model.iterdir():
        if file.suffix != ".safetensors":
            storage.publish(file, f"{bucket}/model/{file.name}")
    check_file(hardFailures=[reference("a")], test=b"{}\n")
    storage.publish(Path("hardFailures.jsonl"), f"{bucket}/rows.jsonl")
    storage.publish(Path("test.jsonl"), f"{bucket}/broken.jsonl")
    data = {"hardFailures": f"{bucket}/rows.jsonl", "maxTokens": 300, "rowLimit": None, "selfCritiqueFormat": "answer"}
    check = tmp_path / "check.json"

    check.write_text(json.dumps({"data": data | {"test": f"{bucket}/rows.jsonl"}, "model": f"{bucket}/model"}))
    assert main([str(check)]) == 0
    of_hard = capsys.readouterr().out.split("\n\n")[0]
    assert of_hard.startswith("hardFailures  s3://retort/rows.jsonl  1 rows\n")
    assert "in test set      1 of 1 rows (100 %)" in of_hard
    assert " a row, median " in of_hard

    check.write_text(json.dumps({"data": data | {"test": f"{bucket}/broken.jsonl"}, "model": None}))
    assert main([str(check)]) == 2
    assert capsys.readouterr().err.splitlines()[0] == 's3://retort/broken.jsonl:1: "instruction" is missing'


def test_of_a_large_test_set_a_sample_is_measured_and_said_to_be_one(tiny_model: Path, capsys: Say) -> None:
    test = [reference(str(i), "x" * (i % 50 + 1)) for i in range(5000)]
    assert main([check_file(tiny_model, hardFailures=[reference("a"), reference("b")], test=test)]) == 0
    of_hard, of_test = capsys.readouterr().out.rstrip().split("\n\n")
    assert of_test.splitlines()[-1].endswith(" (of 1,667 rows)")
    assert "(of " not in of_hard


def test_27_000_rows_are_all_read_and_each_thing_in_them_found(capsys: Say) -> None:
    draw = random.Random(0)
    words = [f"word{i}" for i in range(1000)]
    text = lambda: " ".join(draw.choices(words, k=60))  # noqa: E731
    test = [reference(f"{i} {text()}", text()) for i in range(20_000)]
    hard = [reference(f"h{i} {text()}", text()) for i in range(5_000)] + test[:400]
    critiques = [self_critique(f"s{i} {text()}", text()) for i in range(2_000)]
    assert main([check_file(selfCritique=critiques, hardFailures=[*hard, hard[7]], test=test)]) == 0
    of_critique, of_hard, of_test = capsys.readouterr().out.rstrip().split("\n\n")
    assert "2,000 rows" in of_critique
    assert "5,401 rows" in of_hard
    assert "20,000 rows" in of_test
    assert "  twice            1 of the rows, word for word" in of_hard
    assert "  in test set      400 of 5,401 rows (7.4 %)" in of_hard


def test_rows_are_checked_by_a_bare_python_without_the_environment() -> None:
    check = check_file(hardFailures=[reference("a")], test=b"\n")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "images/trainer")}
    command = [sys.executable, "-S", "-m", "retort.data", check]  # -S: no site-packages, so the standard library alone
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "test.jsonl:1: blank line; every line must be a JSON object\n"
    assert done.stdout.startswith("hardFailures  hardFailures.jsonl  1 rows\n")
