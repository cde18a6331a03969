"""What is wrong with an answer, in a few sentences, found by comparing it with the reference."""

import json
import re
from typing import Any

KEY = re.compile(r'"([^"\n]*)"\s*:')


def critique(answer: str, finished: bool, reference: str) -> str | None:
    """The critique of one answer, the same for the same input; None if the answer is right. The reference is JSON."""
    problems = [] if finished else ["The answer was never finished: it ran on until the limit cut it off."]
    wanted = json.loads(reference)
    try:
        problems += _differences(json.loads(answer), wanted)
    except ValueError:
        problems.append(_why_not_json(answer))
        problems += _key_differences(list(dict.fromkeys(KEY.findall(answer))), _keys(wanted))
    return " ".join(problems) or None


def _why_not_json(answer: str) -> str:
    if "```" in answer:
        return "It is not JSON as it stands: a code fence is part of the answer."
    return "It is not well-formed JSON." if answer.startswith(("{", "[")) else "It is prose, not JSON."


def _keys(wanted: Any) -> list[str]:
    return list(wanted[0] if isinstance(wanted, list) else wanted)


def _differences(given: Any, wanted: Any) -> list[str]:
    if isinstance(given, list) and isinstance(wanted, list):
        if len(given) != len(wanted):
            return [f"The array has {len(given)} entries, not {len(wanted)}."]
        return [problem for one, other in zip(given, wanted, strict=True) for problem in _differences(one, other)]
    if not isinstance(given, dict) or not isinstance(wanted, dict):
        return [f"It is {_shape(given)} where {_shape(wanted)} was asked for."]
    wrong = [key for key in wanted if key in given and not _same(given[key], wanted[key])]
    return _key_differences(list(given), list(wanted)) + [
        f"{key} is {json.dumps(given[key])}, not {json.dumps(wanted[key])}." for key in wrong
    ]


def _key_differences(given: list[str], wanted: list[str]) -> list[str]:
    missing = [key for key in wanted if key not in given]
    unasked = [key for key in given if key not in wanted]
    return [f"Missing: {', '.join(missing)}."] * bool(missing) + [f"Not asked for: {', '.join(unasked)}."] * bool(
        unasked
    )


def _same(given: Any, wanted: Any) -> bool:
    """Equal, and true is not 1."""
    return given == wanted and isinstance(given, bool) == isinstance(wanted, bool)


def _shape(value: Any) -> str:
    return "an object" if isinstance(value, dict) else "an array" if isinstance(value, list) else json.dumps(value)
