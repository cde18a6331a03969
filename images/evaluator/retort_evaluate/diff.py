"""Where an answer departs from its reference, word by word, so that a reader sees it at a glance."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

LIKE_ENOUGH = 0.5
"""Under this share of the shorter text's words in common (0 to 1), marks would be noise: it is another text."""

TOKEN = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")
"""A word or a punctuation mark, with the white space after it, which does not count when two are compared."""


@dataclass(frozen=True)
class Segment:
    """A stretch of text. `extra` is in the answer alone, `missing` in the reference alone."""

    kind: Literal["same", "extra", "missing"]
    text: str


def marked(reference: str, answer: str) -> list[Segment]:
    """The answer with what is extra and what is missing. Without `missing`, the segments spell the answer."""
    expected, given = TOKEN.findall(reference), TOKEN.findall(answer)
    matcher = SequenceMatcher(None, [t.strip() for t in expected], [t.strip() for t in given], autojunk=False)
    common = sum(_words(given[block.b : block.b + block.size]) for block in matcher.get_matching_blocks())
    if common < LIKE_ENOUGH * min(_words(expected), _words(given)) or not common:
        return [Segment("same", answer)] if answer else []
    segments = []
    for change, i, j, k, m in matcher.get_opcodes():
        if change in {"replace", "delete"}:
            segments.append(Segment("missing", "".join(expected[i:j])))
        if change in {"replace", "insert"}:
            segments.append(Segment("extra", "".join(given[k:m])))
        if change == "equal":
            segments.append(Segment("same", "".join(given[k:m])))
    return segments


def _words(tokens: list[str]) -> int:
    """Tokens that are words: any two JSON texts have their punctuation in common."""
    return sum(token[0].isalnum() for token in tokens)
