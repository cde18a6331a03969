"""Whether one answer is good: finished, well-formed where JSON was asked for, and right against the reference.

Pure and deterministic: no model judges another here.
"""

import json
import unicodedata
from typing import Any, Literal, NoReturn

Check = Literal["complete", "wellFormed", "correct"]

CHECKS: tuple[Check, ...] = ("complete", "wellFormed", "correct")
"""In the order of causes: an answer that was cut off is mostly ill-formed too, and an ill-formed one is never right."""


class NotJson(ValueError):
    """The text is not one JSON value that every reader reads alike."""


def failed_checks(response: str, finish_reason: str, reference: str) -> list[Check]:
    """The checks that the answer does not meet, in the order of `CHECKS`. Empty: the answer passes.

    `complete`: the model ended the answer itself (`finish_reason` "stop").
    `wellFormed`: where the reference is a JSON object or array, the response is one JSON value as it stands, white
    space around it allowed, a code fence not.
    `correct`: JSON deeply equal to the reference's; other text equal after NFC, case folding, white space
    collapsed and punctuation at the end dropped.
    """
    failed: list[Check] = []
    if finish_reason != "stop":
        failed.append("complete")
    if not asks_for_json(reference):
        if plain(response) != plain(reference):
            failed.append("correct")
        return failed
    try:
        answer = parse(response)
    except NotJson:
        return [*failed, "wellFormed", "correct"]
    if not equal(answer, parse(reference)):
        failed.append("correct")
    return failed


def asks_for_json(reference: str) -> bool:
    """Whether the reference is a JSON object or array. A lone number or word is text, whatever JSON says."""
    try:
        return isinstance(parse(reference), dict | list)
    except NotJson:
        return False


def parse(text: str) -> Any:
    """The JSON value that `text` is. Raises NotJson, also for NaN, equal keys in one object and what is too deep."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refused)
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg.removesuffix(' at').lower()} (line {error.lineno}, column {error.colno})") from None
    except (ValueError, RecursionError) as error:  # ValueError: an integer of thousands of digits
        raise NotJson(str(error)) from None


def equal(one: Any, other: Any) -> bool:
    """Deep equality of JSON values: keys in any order, 1 == 1.0, but true is no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def plain(text: str) -> str:
    """Text as the `correct` check compares it. Text of nothing but punctuation stays as it is."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    collapsed = " ".join(folded.split())
    end = len(collapsed)
    while end and (collapsed[end - 1] == " " or unicodedata.category(collapsed[end - 1]).startswith("P")):
        end -= 1
    return collapsed[:end] or collapsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise NotJson("a key appears twice in one object")
    return members


def _refused(name: str) -> NoReturn:
    raise NotJson(f"{name} is no JSON value")
