"""Causal attention within each of several rows laid end to end: no token of one row sees another's.

Registered with transformers as "packed"; `bounds` and `longest` of a `Packed` reach it through the model's forward.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # a torch built without it still runs on a CPU
    varlen_attn = None

NAME = "packed"


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
        rows = (x.transpose(1, 2)[0] for x in (query, key, value))
        out = varlen_attn(*rows, bounds, bounds, longest, longest, scale=scaling, window_size=(-1, 0), enable_gqa=True)
        return out[None], None
    lengths = bounds.diff().tolist()
    parts = [
        scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        for q, k, v in zip(*(x.split(lengths, dim=2) for x in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


AttentionInterface.register(NAME, packed_attention)
