"""What passes and what does not, as a person would say it, and what holds for any text and any JSON."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retort_evaluate.grade import CHECKS, NotJson, asks_for_json, equal, failed_checks, parse, plain

REFERENCE = '{"item": "chair", "count": 3, "tags": ["red", "oak"], "rush": true}'

scalars = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**60), max_value=2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
containers = json_values.filter(lambda value: isinstance(value, dict | list))


@pytest.mark.parametrize(
    ("response", "failed"),
    [
        (REFERENCE, []),
        ('\n  {"rush": true, "tags": ["red", "oak"], "count": 3.0, "item": "chair"} \n', []),
        (f"```json\n{REFERENCE}\n```", ["wellFormed", "correct"]),
        (f"Here you are: {REFERENCE}", ["wellFormed", "correct"]),
        (REFERENCE[:-1], ["wellFormed", "correct"]),
        (REFERENCE + REFERENCE, ["wellFormed", "correct"]),
        ("", ["wellFormed", "correct"]),
        ("[" * 100_000, ["wellFormed", "correct"]),
        (REFERENCE.replace("3", "9" * 5000), ["wellFormed", "correct"]),
        (REFERENCE.replace("3", "NaN"), ["wellFormed", "correct"]),
        (REFERENCE.replace('"rush"', '"item"'), ["wellFormed", "correct"]),  # which of the two items counts?
        (REFERENCE.replace("3", '"3"'), ["correct"]),
        (REFERENCE.replace("true", "1"), ["correct"]),
        (REFERENCE.replace('["red", "oak"]', '["oak", "red"]'), ["correct"]),
        (REFERENCE.replace('"rush": true', '"rush": true, "more": null'), ["correct"]),
        ('"chair"', ["correct"]),
    ],
)
def test_json_is_compared_by_value_and_taken_as_it_is(response: str, failed: list[str]) -> None:
    assert failed_checks(response, "stop", REFERENCE) == failed


@pytest.mark.parametrize(
    ("response", "reference", "right"),
    [
        ("Paris", "paris.", True),
        (" The  capital\nis Paris!? ", "the capital is Paris", True),
        ("STRASSE", "Straße", True),
        ("Cafe\u0301", "Caf\u00e9", True),
        ("", "Paris", False),
        ("Paris, France", "Paris", False),
        ("?", "!", False),
        ("...", "…", False),
        ("-3", "3", False),
        ("3.5", "35", False),
        ("true", "1", False),
    ],
)
def test_text_is_compared_without_case_spacing_and_final_punctuation(
    response: str, reference: str, right: bool
) -> None:
    assert failed_checks(response, "stop", reference) == ([] if right else ["correct"])


def test_an_answer_that_was_cut_off_never_passes_even_if_it_reads_right() -> None:
    assert failed_checks(REFERENCE, "length", REFERENCE) == ["complete"]
    assert failed_checks(REFERENCE[:20], "length", REFERENCE) == list(CHECKS)


@pytest.mark.parametrize(("reference", "json_asked"), [("{}", True), ("[1]", True), ("42", False), ('"x"', False)])
def test_only_objects_and_arrays_ask_for_json(reference: str, json_asked: bool) -> None:
    assert asks_for_json(reference) is json_asked


@given(containers, st.sampled_from([None, 0, 2]), st.sampled_from(["", " ", "\n\t"]))
def test_any_way_of_writing_a_value_passes(value: Any, indent: int | None, around: str) -> None:
    written = around + json.dumps(value, indent=indent, sort_keys=True) + around
    assert failed_checks(written, "stop", json.dumps(value, ensure_ascii=False)) == []


@given(json_values, json_values)
def test_equality_is_that_of_canonical_writing(one: Any, other: Any) -> None:
    def canonical(value: Any) -> str:
        def whole_numbers(v: Any) -> Any:
            if isinstance(v, float) and v.is_integer():
                return int(v)
            if isinstance(v, dict):
                return {k: whole_numbers(x) for k, x in v.items()}
            return [whole_numbers(x) for x in v] if isinstance(v, list) else v

        return json.dumps(whole_numbers(value), sort_keys=True)

    assert equal(one, one)
    assert equal(one, other) is equal(other, one) is (canonical(one) == canonical(other))


@given(containers, containers)
def test_a_wrong_value_is_well_formed_and_wrong(value: Any, reference: Any) -> None:
    assume(not equal(value, reference))
    assert failed_checks(json.dumps(value), "stop", json.dumps(reference)) == ["correct"]


@given(st.text(), st.text(), st.sampled_from(["stop", "length"]))
def test_any_text_is_graded(response: str, reference: str, finish_reason: str) -> None:
    failed = failed_checks(response, finish_reason, reference)
    assert failed == [check for check in CHECKS if check in failed]
    assert ("complete" in failed) is (finish_reason == "length")
    if "wellFormed" in failed:
        assert asks_for_json(reference)
        with pytest.raises(NotJson):
            parse(response)


@given(st.text())
def test_how_a_text_is_typed_does_not_matter(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    assert plain(unicodedata.normalize("NFD", text)) == plain(text)
    assert plain(f"  {text}\n") == plain(text)
    assert (plain(text) == "") is (text.split() == [])
