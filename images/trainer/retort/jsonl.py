"""JSON Lines read strictly: each line one JSON object, or what is wrong with that line in words.

Stricter than `json.loads`, which accepts NaN, takes the last of two equal keys and reads strings
that no file can hold again: what passes here means the same to every other reader.
"""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

JSON_TYPE_NAMES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


class LineProblems(Exception):
    """What is wrong with one line: a message for each thing to mend."""

    def __init__(self, *messages: str):
        self.messages = messages
        super().__init__(*messages)


def numbered_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines counted from 1, split at \\n alone: U+2028 and its like may stand inside a string."""
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return enumerate(lines, start=1)


def json_object(line: bytes) -> dict[str, Any]:
    """The object on one line. Raises LineProblems for whatever else the bytes may be."""
    if line.startswith(b"\xef\xbb\xbf"):
        raise LineProblems("starts with a byte order mark; save the file as UTF-8 without one")
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise LineProblems("is UTF-16; save the file as UTF-8")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        at, byte = error.start + 1, line[error.start]
        raise LineProblems(f"not UTF-8: byte {at} of the line is 0x{byte:02x}") from None
    if not text.strip():
        raise LineProblems("blank line; every line must be a JSON object")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refused)
    except json.JSONDecodeError as error:
        raise LineProblems(f"not JSON: {error.msg} (column {error.pos + 1})") from None
    except RecursionError:
        raise LineProblems("not usable JSON: nested too deeply") from None
    except ValueError:  # Python refuses to convert very long integers
        raise LineProblems("not usable JSON: a number has thousands of digits") from None
    if not isinstance(value, dict):
        raise LineProblems(f"must be a JSON object, got {json_type(value)}")
    return value


def json_type(value: Any) -> str:
    """What a value read from JSON is, as a person would say it."""
    return JSON_TYPE_NAMES[type(value)]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise LineProblems(f"{json.dumps(twice)} appears twice in one object")
    return members


def _refused(name: str) -> NoReturn:
    raise LineProblems(f"not JSON: {name} is no JSON value")
