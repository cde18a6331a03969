"""Reading rows: what is right comes back as written, what is wrong is named by file and line, in these very words."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retort.data import DataError, Kind, Row, instruction_key, read_files, read_rows

GOOD_CRITIQUE: dict[str, Any] = {"instruction": "i", "input": "bad", "output": "good", "meta": {"critique": "why"}}
GOOD_REFERENCE: dict[str, Any] = {"instruction": "i", "reference_answer": "a", "category": "c"}


def problems_of(path: Path, content: bytes, kind: Kind) -> list[str]:
    """The problems of a file with this content, without the path in front of each."""
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_rows(path, kind)
    assert all(problem.startswith(f"{path}:") for problem in raised.value.problems)
    return [problem.removeprefix(f"{path}:") for problem in raised.value.problems]


def changed(row: dict[str, Any], **members: Any) -> bytes:
    return json.dumps(row | members).encode()


def without(row: dict[str, Any], *names: str) -> bytes:
    return json.dumps({name: value for name, value in row.items() if name not in names}).encode()


NOT_TEXT = '"reference_answer" must be a string, got '
PROPERTY_NAME = "not JSON: Expecting property name enclosed in double quotes (column "

NO_ROWS: list[tuple[bytes, str]] = [
    (b'{"instruction": "i', "not JSON: Unterminated string starting at (column 17)"),
    (b'{"a": 1,', PROPERTY_NAME + "9)"),
    (b"{'a': 1}", PROPERTY_NAME + "2)"),
    (b'{"a": 1} {"b": 2}', "not JSON: Extra data (column 10)"),
    (b'{"a": "\t"}', "not JSON: Invalid control character at (column 8)"),
    (b"[1]", "must be a JSON object, got an array"),
    (b'"x"', "must be a JSON object, got a string"),
    (b"null", "must be a JSON object, got null"),
    (b"1.5", "must be a JSON object, got a number"),
    (b'{"a": NaN}', "not JSON: NaN is no JSON value"),
    (b'{"a": -Infinity}', "not JSON: -Infinity is no JSON value"),
    (b'{"a": 1, "b": {"x": 1, "x": 2}}', '"x" appears twice in one object'),
    (b"", "blank line; every line must be a JSON object"),
    (b" \t\r", "blank line; every line must be a JSON object"),
    (b'{"a": "caf\xe9"}', "not UTF-8: byte 11 of the line is 0xe9"),
    (b'{"a": "\xe2\x82', "not UTF-8: byte 8 of the line is 0xe2"),
    (b"\xef\xbb\xbf{}", "starts with a byte order mark; save the file as UTF-8 without one"),
    ("{}".encode("utf-16"), "is UTF-16; save the file as UTF-8"),
    (b'{"a":' * 100_000, "not usable JSON: nested too deeply"),
    (b'{"a": ' + b"9" * 5000 + b"}", "not usable JSON: a number has thousands of digits"),
]

BAD_REFERENCE_ROWS: list[tuple[bytes, list[str]]] = [
    (without(GOOD_REFERENCE, "instruction"), ['"instruction" is missing']),
    (
        without(GOOD_REFERENCE, "reference_answer", "category"),
        ['"reference_answer" is missing', '"category" is missing'],
    ),
    (changed(GOOD_REFERENCE, reference_answer=None), [NOT_TEXT + "null"]),
    (changed(GOOD_REFERENCE, reference_answer=7), [NOT_TEXT + "a number"]),
    (changed(GOOD_REFERENCE, reference_answer={"a": 1}), [NOT_TEXT + "an object"]),
    (changed(GOOD_REFERENCE, reference_answer=True), [NOT_TEXT + "a boolean"]),
    (changed(GOOD_REFERENCE, category=""), ['"category" is empty']),
    (changed(GOOD_REFERENCE, instruction=" \n"), ['"instruction" is empty']),
    (
        changed(GOOD_REFERENCE, instruction="\ud83d"),
        ['"instruction" holds half of a surrogate pair, which is no character'],
    ),
    (
        b'{"instruction": "i", "refrence_answer": "a", "category": "c"}',
        ['"reference_answer" is missing; is "refrence_answer" it, misspelt?'],
    ),
]

BAD_CRITIQUE_ROWS: list[tuple[bytes, list[str]]] = [
    (without(GOOD_CRITIQUE, "meta"), ['"meta" is missing']),
    (changed(GOOD_CRITIQUE, meta="why"), ['"meta" must be an object with "critique", got a string']),
    (changed(GOOD_CRITIQUE, meta={}), ['"meta.critique" is missing']),
    (changed(GOOD_CRITIQUE, meta={"critique": ""}), ['"meta.critique" is empty']),
    (changed(GOOD_CRITIQUE, meta={"critique": ["why"]}), ['"meta.critique" must be a string, got an array']),
    (
        b'{"input": "", "output": []}',
        [
            '"instruction" is missing',
            '"input" is empty',
            '"output" must be a string, got an array',
            '"meta" is missing',
        ],
    ),
    (json.dumps(GOOD_REFERENCE).encode(), ['"input" is missing', '"output" is missing', '"meta" is missing']),
]

BAD_LINES: list[tuple[Kind, bytes, list[str]]] = [
    *(("test", line, [message]) for line, message in NO_ROWS),
    *(("hardFailures", line, messages) for line, messages in BAD_REFERENCE_ROWS),
    *(("test", line, messages) for line, messages in BAD_REFERENCE_ROWS),
    *(("selfCritique", line, messages) for line, messages in BAD_CRITIQUE_ROWS),
]


@pytest.mark.parametrize(("kind", "line", "messages"), BAD_LINES, ids=[messages[0] for *_, messages in BAD_LINES])
def test_a_bad_line_between_good_ones_is_named_and_its_problems_said(
    tmp_path: Path, kind: Kind, line: bytes, messages: list[str]
) -> None:
    good = json.dumps(GOOD_CRITIQUE if kind == "selfCritique" else GOOD_REFERENCE).encode()
    found = problems_of(tmp_path / "x.jsonl", b"\n".join([good, line, good]) + b"\n", kind)
    assert found == [f"2: {message}" for message in messages]


def test_an_empty_file_is_a_problem_and_one_of_blank_lines_too(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "x.jsonl", b"", "test") == ["1: the file is empty"]
    blank = "blank line; every line must be a JSON object"
    assert problems_of(tmp_path / "x.jsonl", b"\n\n", "test") == [f"1: {blank}", f"2: {blank}"]


def test_a_file_that_is_not_there_or_is_a_directory_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: cannot be read: No such file or directory$"):
        read_rows(tmp_path / "absent.jsonl", "test")
    with pytest.raises(DataError, match=r": cannot be read: Is a directory$"):
        read_rows(tmp_path, "test")


def test_all_problems_of_all_files_come_at_once_and_are_printed_up_to_20(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_bytes(b"{}\n" * 5)
    other.write_bytes(b"[]\n" * 12)
    with pytest.raises(DataError) as raised:
        read_files({"hardFailures": one, "test": other})
    assert len(raised.value.problems) == 5 * 3 + 12
    printed = str(raised.value).splitlines()
    assert printed[:3] == [f'{one}:1: "{name}" is missing' for name in ("instruction", "reference_answer", "category")]
    assert printed[19] == f"{other}:5: must be a JSON object, got an array"
    assert printed[20:] == ["and 7 more problems"]


def test_a_message_may_know_the_file_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"[]")
    with pytest.raises(DataError, match=r"^s3://data/x\.jsonl:1: must be a JSON object"):
        read_rows(tmp_path / "copy", "test", called="s3://data/x.jsonl")


def test_limit_takes_the_first_rows_but_all_lines_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(changed(GOOD_REFERENCE) + b"\n" + changed(GOOD_REFERENCE, category="d") + b"\n")
    assert [row.category for row in read_rows(path, "test", 1)] == ["c"]
    assert [row.category for row in read_rows(path, "test", 9)] == ["c", "d"]
    assert problems_of(path, path.read_bytes() + b"{\n", "test")[0].startswith("3: not JSON")


def test_crlf_a_missing_last_line_break_and_further_fields_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(changed(GOOD_REFERENCE, id=1, tags=["x"]) + b"\r\n" + changed(GOOD_REFERENCE))
    assert [(row.line, row.answer) for row in read_rows(path, "test")] == [(1, "a"), (2, "a")]


text = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda s: s.strip())
references = st.fixed_dictionaries({"instruction": text, "reference_answer": text, "category": text})
critiques = st.fixed_dictionaries(
    {"instruction": text, "input": text, "output": text, "meta": st.fixed_dictionaries({"critique": text})}
)
any_file_size = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@any_file_size
@given(rows=st.lists(references, min_size=1, max_size=5), escaped=st.booleans())
def test_rows_with_a_reference_are_read_as_they_were_written(
    tmp_path: Path, rows: list[dict[str, str]], escaped: bool
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in rows), encoding="utf-8", newline="")
    assert read_rows(path, "hardFailures") == [
        Row("hardFailures", line, row["instruction"], row["reference_answer"], category=row["category"])
        for line, row in enumerate(rows, start=1)
    ]


@any_file_size
@given(rows=st.lists(critiques, min_size=1, max_size=5))
def test_self_critique_rows_are_read_as_they_were_written(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")
    assert read_rows(path, "selfCritique") == [
        Row("selfCritique", n, r["instruction"], r["output"], bad_answer=r["input"], critique=r["meta"]["critique"])
        for n, r in enumerate(rows, start=1)
    ]


@settings(any_file_size, max_examples=500)
@given(row=critiques, data=st.data())
def test_bytes_changed_anywhere_are_read_or_named_by_line_and_nothing_else_is_raised(
    tmp_path: Path, row: dict[str, Any], data: st.DataObject
) -> None:
    content = bytearray(
        json.dumps(row, ensure_ascii=False).encode() + b"\n" + json.dumps(GOOD_CRITIQUE).encode() + b"\n"
    )
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    lines = content.count(b"\n") + (not content.endswith(b"\n"))
    try:
        problems = [] if len(read_rows(path, "selfCritique")) == lines else ["not every line was read"]
    except DataError as error:
        problems = error.problems
    for problem in problems:
        line, message = problem.removeprefix(f"{path}:").split(": ", 1)
        assert 1 <= int(line) <= lines
        assert message


def test_instructions_are_the_same_but_for_white_space_and_how_accents_are_written() -> None:
    assert instruction_key("a caf\u00e9") == instruction_key(" a\n  cafe\u0301\t")
    assert instruction_key("a b") != instruction_key("ab")
    assert instruction_key("A") != instruction_key("a")
    assert len(instruction_key("a")) == 64
