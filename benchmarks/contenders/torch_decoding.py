"""The benchmark's dense decoder in torch, as one would write it; lives where there is no jax."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

SEED = 0


class Attention(nn.Module):
    def __init__(self, d_model: int, n_heads: int, context: int):
        super().__init__()
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        shape = n_heads, context, d_model // n_heads
        self.k, self.v = torch.zeros(shape), torch.zeros(shape)

    def forward(self, x, position: int):
        q, k, v = self.qkv(x).view(3, len(self.k), 1, -1)
        self.k[:, position : position + 1], self.v[:, position : position + 1] = k, v
        seen = slice(position + 1)
        heads = scaled_dot_product_attention(q, self.k[:, seen], self.v[:, seen])
        return self.out(heads.view(1, -1))


class Decoder(nn.Module):
    """24 blocks of attention and feed-forward layer, each behind its norm, then the readout."""

    def __init__(self, sizes: dict, context: int):
        super().__init__()
        d_model, d_ff, depth = sizes["d_model"], sizes["d_ff"], sizes["n_layers"]
        self.tokens = nn.Embedding(sizes["vocab"], d_model)
        self.positions = nn.Embedding(context, d_model)
        self.attention = nn.ModuleList(
            Attention(d_model, sizes["n_heads"], context) for _ in range(depth)
        )
        self.feed_forward = nn.ModuleList(
            nn.Sequential(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model))
            for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2 * depth + 1))
        self.readout = nn.Linear(d_model, sizes["vocab"], bias=False)

    def forward(self, token, position: int):
        x = self.tokens(token) + self.positions(torch.tensor([position]))
        norms = iter(self.norms)
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            x = x + attention(next(norms)(x), position)
            x = x + feed_forward(next(norms)(x))
        return self.readout(next(norms)(x))


def dense(sizes: dict, context: int, n_tokens: int) -> dict:
    """The run of a worker: n_tokens, one after the other, each the likeliest after the last."""
    torch.manual_seed(SEED)
    model = Decoder(sizes, context).eval()

    def tokens():
        token = torch.zeros(1, dtype=torch.long)
        with torch.inference_mode():
            for i in range(n_tokens):
                token = model(token, context // 2 + i).argmax(-1)

    return {"tokens": tokens}
