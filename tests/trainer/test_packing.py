"""Rows laid end to end are still rows: none sees another, and micro-batches decide nothing but memory."""

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedModel

from retort import attention
from retort.chat import IGNORED, Example
from retort.packing import micro_batches, pack
from retort.update import accumulate, accumulate_in_memory, loss_sum, mean_loss

LENGTHS = [5, 17, 2, 33, 9, 12, 3, 21]


def examples(lengths: list[int], seed: int = 0) -> list[Example]:
    draw = random.Random(seed)
    rows = [[draw.randrange(3, 250) for _ in range(n)] for n in lengths]
    return [Example(ids, [IGNORED] * (len(ids) // 3) + ids[len(ids) // 3 :]) for ids in rows]


@pytest.fixture
def packed_model(tiny_model: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation=attention.NAME)


def logits(model: PreTrainedModel, rows: list[Example]) -> torch.Tensor:
    packed = pack(rows).to(model.device)
    with torch.no_grad():
        return model(
            input_ids=packed.ids,
            position_ids=packed.positions,
            attention_mask=None,
            use_cache=False,
            bounds=packed.bounds,
            longest=packed.longest,
        ).logits[0]


def test_each_row_gets_the_logits_it_gets_alone(tiny_model: Path, packed_model: PreTrainedModel) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="eager")
    rows = examples(LENGTHS)
    together = logits(packed_model, rows).split(LENGTHS)
    assert len(together) == 8
    for row, packed in zip(rows, together, strict=True):
        with torch.no_grad():
            alone = plain(input_ids=torch.tensor([row.ids])).logits[0]
        torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


def test_no_token_of_one_row_sees_another_row(packed_model: PreTrainedModel) -> None:
    rows = examples(LENGTHS)
    before = logits(packed_model, rows).split(LENGTHS)
    rows[3] = examples([LENGTHS[3]], seed=1)[0]
    after = logits(packed_model, rows).split(LENGTHS)
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert same == [i != 3 for i in range(8)]


def test_no_row_predicts_the_start_of_the_next() -> None:
    packed = pack(examples([4, 3, 2]))
    ends = packed.bounds[1:] - 1
    assert packed.targets[0, ends].tolist() == [IGNORED] * 3
    assert packed.positions[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1]
    assert (packed.targets != IGNORED).sum() == sum(row.targets for row in examples([4, 3, 2])) > 0


def test_one_batch_of_8_rows_gives_the_gradient_of_8_batches_of_1(packed_model: PreTrainedModel) -> None:
    rows = examples(LENGTHS)
    targets = sum(row.targets for row in rows)
    results = []
    for max_tokens in (10_000, 40, 1):
        assert len(micro_batches(rows, max_tokens)) == {10_000: 1, 40: 4, 1: 8}[max_tokens]
        packed_model.zero_grad()
        loss = accumulate(packed_model, rows, max_tokens, targets)
        results.append((loss, [p.grad.clone() for p in packed_model.parameters() if p.grad is not None]))
    (loss, gradients), *others = results
    assert len(gradients) > 10
    for other_loss, other_gradients in others:
        torch.testing.assert_close(other_loss, loss)
        torch.testing.assert_close(other_gradients, gradients, atol=1e-6, rtol=1e-4)


def test_the_loss_is_the_mean_over_the_answers_tokens_as_transformers_counts_it(
    tiny_model: Path, packed_model: PreTrainedModel
) -> None:
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="eager")
    rows = examples(LENGTHS)
    total = 0.0
    for row in rows:
        with torch.no_grad():
            mean = plain(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss
        total += mean.item() * row.targets
    assert mean_loss(packed_model, rows, 50) == pytest.approx(total / sum(r.targets for r in rows), rel=1e-5)


def test_out_of_memory_halves_the_micro_batch_and_starts_the_update_over(
    packed_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = examples(LENGTHS)
    targets = sum(row.targets for row in rows)
    expected = accumulate(packed_model, rows, 60, targets)
    gradients = [p.grad.clone() for p in packed_model.parameters() if p.grad is not None]
    packed_model.zero_grad()
    asked = limit_memory(monkeypatch, tokens=60)
    loss, fitted = accumulate_in_memory(packed_model, rows, 128, targets)
    assert fitted == 64
    assert max(asked) > 60, "memory never ran out"
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close([p.grad for p in packed_model.parameters() if p.grad is not None], gradients)


def test_a_row_that_does_not_fit_alone_is_the_users_to_mend(
    packed_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(monkeypatch, tokens=20)
    with pytest.raises(ValueError, match=r"a row of 33 tokens does not fit into memory: lower data\.maxTokens"):
        accumulate_in_memory(packed_model, examples(LENGTHS), 128, 50)


def limit_memory(monkeypatch: pytest.MonkeyPatch, tokens: int) -> list[int]:
    """A CPU never raises OutOfMemoryError; this does from `tokens` on, as a GPU would, in the middle of an update."""
    asked: list[int] = []

    def limited(model: PreTrainedModel, packed: object) -> torch.Tensor:
        asked.append(packed.ids.shape[1])  # type: ignore[attr-defined]
        if asked[-1] > tokens:
            raise torch.OutOfMemoryError("too much")
        return loss_sum(model, packed)  # type: ignore[arg-type]

    monkeypatch.setattr("retort.update.loss_sum", limited)
    return asked


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 100))
def test_micro_batches_keep_every_row_whole_in_order_and_within_the_limit(lengths: list[int], limit: int) -> None:
    rows = examples(lengths)
    groups = micro_batches(rows, limit)
    assert [row for group in groups for row in group] == rows
    assert all(len(group) == 1 or sum(map(len, group)) <= limit for group in groups)
