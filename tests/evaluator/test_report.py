"""What answers add up to: rates, flips, categories, rows that were trained on."""

import pytest

from retort.data import Row, instruction_key
from retort_evaluate.answers import MODELS, Answer, ModelName, Reply
from retort_evaluate.grade import Check
from retort_evaluate.report import _by_seen, compare, rate, spread, warnings

WRONG: list[Check] = ["correct"]
CUT: list[Check] = ["complete", "wellFormed", "correct"]


def row(line: int, category: str = "a") -> Row:
    return Row("test", line, f"Question {line}", "x", category)


def answer(model: ModelName, line: int, failed: list[Check], category: str = "a") -> Answer:
    return Answer(model, str(line), category, Reply("x", "stop", 10, 5), 0.1, failed)


def answers(**failed: list[list[Check]]) -> dict[ModelName, dict[str, Answer]]:
    """By model: what failed in each row, from row 1."""
    return {m: {str(i): answer(m, i, f) for i, f in enumerate(failed[m], start=1)} for m in MODELS}


def test_a_failed_answer_counts_once_under_its_first_failure_and_in_every_check_it_fails() -> None:
    found = rate([answer("base", 1, []), answer("base", 2, CUT), answer("base", 3, WRONG), answer("base", 4, WRONG)])
    assert (found["passed"], found["total"], found["passRate"]) == (1, 4, 0.25)
    assert found["failed"] == {"complete": 1, "wellFormed": 1, "correct": 3}
    assert found["firstFailed"] == {"complete": 1, "wellFormed": 0, "correct": 2}
    assert found["interval"][0] < 0.25 < found["interval"][1]


def test_no_answers_have_no_rate() -> None:
    found = rate([])
    assert (found["total"], found["passRate"], found["interval"]) == (0, None, None)


def test_flips_are_counted_both_ways_and_tested_as_pairs() -> None:
    rows = [row(i) for i in range(1, 6)]
    by_model = answers(base=[[], WRONG, CUT, WRONG, []], merged=[[], [], [], WRONG, WRONG])
    found = compare(rows, by_model)
    assert (found["base"]["passed"], found["merged"]["passed"]) == (2, 3)
    assert found["flipped"] == {
        "gained": {"count": 2, "examples": ["2", "3"]},
        "lost": {"count": 1, "examples": ["5"]},
    }
    assert found["stillFailing"] == {"count": 1, "examples": ["4"]}
    assert (found["pairedTest"]["gained"], found["pairedTest"]["lost"]) == (2, 1)
    assert found["pairedTest"]["pValue"] == pytest.approx(5 / 8)


def test_examples_come_from_every_category_in_turn() -> None:
    found = {str(i): answer("base", i, WRONG, "common" if i < 90 else "rare") for i in range(1, 100)}
    assert spread(list(found), found, limit=5) == ["1", "90", "2", "91", "3"]
    assert spread([], found) == []


def test_rows_that_were_trained_on_are_reported_apart_and_warned_of() -> None:
    rows = [row(i) for i in range(1, 5)]
    by_model = answers(base=[WRONG, WRONG, WRONG, []], merged=[[], [], WRONG, []])
    # As training names them: the same instruction however it is spaced.
    seen = {instruction_key("Question  1"), instruction_key("Question 2\n"), instruction_key("Another")}
    found = _by_seen(rows, by_model, seen)
    assert found["seenInTraining"]["rows"] == 2
    assert found["seenInTraining"]["merged"]["passRate"] == 1.0
    assert found["neverSeen"]["rows"] == 2
    assert found["neverSeen"]["merged"]["passRate"] == 0.5
    (message,) = warnings(rows, by_model, seen)
    assert message == (
        "The model was trained on 2 of the 4 test rows: on those, memory passes. "
        "On the 2 rows that it never saw, 50.0\u202f% before and 50.0\u202f% after: believe these."
    )


def test_a_test_set_that_was_all_trained_on_measures_nothing_new() -> None:
    rows = [row(1)]
    by_model = answers(base=[WRONG], merged=[[]])
    seen = {instruction_key("Question 1")}
    assert _by_seen(rows, by_model, seen)["neverSeen"]["merged"]["passRate"] is None
    (message,) = warnings(rows, by_model, seen)
    assert "nothing here says how it does on new ones" in message


def test_a_clean_test_set_warns_of_nothing() -> None:
    assert warnings([row(1)], answers(base=[WRONG], merged=[[]]), {instruction_key("Question 2")}) == []
