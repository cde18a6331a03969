"""Causal attention within each of several rows laid end to end: no token of one row sees another's.

Registered with transformers as "packed"; `bounds` and `longest` of a `Packed` reach it through the model's forward.
"""

import inspect
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "packed"
GROUPED_KEYS = "enable_gqa" in inspect.signature(varlen_attn).parameters  # since torch 2.12


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    bounds: torch.Tensor,
    longest: int,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """query: [1, heads, N, D]; key, value: [1, key heads, N, D]. Returns [1, N, heads, D], and no weights."""
    if query.is_cuda:
        return _on_cuda(query, key, value, bounds, longest, scaling)[None], None
    lengths = bounds.diff().tolist()
    parts = [
        scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        for q, k, v in zip(*(x.split(lengths, dim=2) for x in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _on_cuda(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    longest: int,
    scaling: float | None,
) -> torch.Tensor:
    """[N, heads, D]: one kernel for all rows."""
    query, key, value = (x.transpose(1, 2)[0] for x in (query, key, value))
    options: dict[str, Any] = {"enable_gqa": True} if GROUPED_KEYS else {}
    if not GROUPED_KEYS:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    causal = (-1, 0)  # any token before, none after
    out = varlen_attn(query, key, value, bounds, bounds, longest, longest, scale=scaling, window_size=causal, **options)
    assert isinstance(out, torch.Tensor)  # a tuple only where its auxiliary outputs are asked for
    return out


AttentionInterface.register(NAME, packed_attention)
