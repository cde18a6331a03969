"""Marks that spell both texts, whatever the texts are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort_evaluate.diff import Segment, marked

texts = st.text(st.sampled_from('ab {}":,\n7é_'), max_size=40)


@pytest.mark.parametrize(
    ("reference", "answer", "segments"),
    [
        ('{"n": 9}', '{"n": 19}', [("same", '{"n": '), ("missing", "9"), ("extra", "19"), ("same", "}")]),
        ('{"n": 9, "c": "oak"}', '{"n": 9', [("same", '{"n": 9'), ("missing", ', "c": "oak"}')]),
        ("the red chair", "the chair", [("same", "the "), ("missing", "red "), ("same", "chair")]),
        ("the red chair", "the  red\nchair", [("same", "the  red\nchair")]),
        ("Paris", "import json\nimport os", [("same", "import json\nimport os")]),
        ("Paris", "", []),
        ('{"a": 1, "b": 2}', '{"x": [{"y": 3}]}', [("same", '{"x": [{"y": 3}]}')]),
        ("?!", "!", [("same", "!")]),
    ],
)
def test_what_is_extra_and_what_is_missing_is_marked(
    reference: str, answer: str, segments: list[tuple[str, str]]
) -> None:
    assert marked(reference, answer) == [Segment(*segment) for segment in segments]  # type: ignore[arg-type]


@given(texts, texts)
def test_segments_spell_the_answer_and_marks_turn_it_into_the_reference(reference: str, answer: str) -> None:
    segments = marked(reference, answer)
    assert all(s.text for s in segments)
    assert "".join(s.text for s in segments if s.kind != "missing") == answer
    if any(s.kind != "same" for s in segments):
        turned_back = "".join(s.text for s in segments if s.kind != "extra")
        assert "".join(turned_back.split()) == "".join(reference.split())
