"""Vision transformers for faces: every patch's features reach the embedding, no class token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE = 112
PATCH = 9
PATCHES = (IMAGE // PATCH) ** 2
HEADS = 8
NORM_EPS = 1e-7  # MindSpore's layer norm; arcface_torch has 1e-5, which moves outputs by 1e-5
FEATURE_EPS = 2e-5


class VisionTransformer(nn.Module):
    """A pre-norm vision transformer on 12x12 patches of 9x9 pixels.

    Source: An Image is Worth 16x16 Words (arXiv:2010.11929) with the head of arcface_torch and
    MindFace: all tokens flattened, two linear layers, two batch norms, ReLU6 in the MLPs. The
    last 4 rows and columns of pixels are not seen (12 * 9 = 108).

    Args:
        width: values in a token.
        depth: transformer blocks.
        embedding_size: values in an embedding.
        drop_path: the probability with which training skips the last block's branches; it grows
            from 0 in the first.
        mask_ratio: the share of tokens that training sets to zero, as MindFace's `RandomMask`
            does. MindFace defines it but never applies it, so the default is 0.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        embedding_size: int = 512,
        drop_path: float = 0.0,
        mask_ratio: float = 0.0,
    ) -> None:
        super().__init__()
        self.mask_ratio = mask_ratio
        self.patch_embed = PatchEmbedding(width)
        self.pos_embed = nn.Parameter(torch.zeros(1, PATCHES, width))
        rates = [drop_path * index / (depth - 1) for index in range(depth)]
        self.blocks = nn.Sequential(*(Block(width, rate) for rate in rates))
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.feature = nn.Sequential(
            nn.Linear(width * PATCHES, width, bias=False),
            nn.BatchNorm1d(width, eps=FEATURE_EPS),
            nn.Linear(width, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size, eps=FEATURE_EPS),
        )
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps aligned faces `(B, 3, 112, 112)` to embeddings `(B, embedding_size)`.

        The pixels are RGB, `(x - 127.5) / 127.5`; the embeddings are not of unit length.
        """
        tokens = self.patch_embed(x) + self.pos_embed
        if self.training and self.mask_ratio:
            tokens = mask_tokens(tokens, self.mask_ratio)
        out: Tensor = self.feature(self.norm(self.blocks(tokens)).flatten(1))
        return out


class PatchEmbedding(nn.Module):
    """Cuts the image into patches and maps each to a token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, 3, 112, 112)` to `(B, 144, width)`."""
        out: Tensor = self.proj(x)
        return out.flatten(2).transpose(1, 2)


class Block(nn.Module):
    """Self-attention and an MLP, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens `(B, 144, width)` to the same shape."""
        x = x + self._sometimes(self.attn(self.norm1(x)))
        return x + self._sometimes(self.mlp(self.norm2(x)))

    def _sometimes(self, branch: Tensor) -> Tensor:
        """Stochastic depth, a coin an image (arXiv:1603.09382, section 3)."""
        if not self.training or not self.drop_path:
            return branch
        keep = 1 - self.drop_path
        coin = torch.empty(branch.shape[0], 1, 1, device=branch.device, dtype=branch.dtype)
        return branch * coin.bernoulli_(keep) / keep


class Attention(nn.Module):
    """Multi-head self-attention (arXiv:1706.03762, section 3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.scale = (width // HEADS) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens `(B, 144, width)` to the same shape."""
        query, key, value = (
            part.reshape(-1, PATCHES, HEADS, self.width // HEADS).transpose(1, 2)
            for part in self.qkv(x).split(self.width, dim=-1)
        )
        if query.device.type == "cpu" and query.dtype == torch.bfloat16:
            mixed = attend(query, key, value, self.scale)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(-1, PATCHES, self.width))
        return out


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Attention as two products: in bfloat16 on a CPU torch's own kernel is slower.

    Args:
        query: `(B, H, N, D)`, as are key and value.
        key: what it is compared with.
        value: what is mixed.
        scale: of the products, before the softmax, which is computed in float32.

    Returns:
        `(B, H, N, D)`.
    """
    weights = (query * scale) @ key.transpose(-2, -1)
    return weights.softmax(-1, dtype=torch.float32).to(value.dtype) @ value


class Mlp(nn.Module):
    """Two linear layers around a ReLU6, four times wider inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens `(B, 144, width)` to the same shape."""
        out: Tensor = self.fc2(F.relu6(self.fc1(x)))
        return out


def mask_tokens(tokens: Tensor, ratio: float) -> Tensor:
    """Sets a random share of each image's tokens to zero.

    Args:
        tokens: `(B, N, D)`.
        ratio: the share to mask; `int(N * (1 - ratio))` tokens stay.

    Returns:
        `(B, N, D)`.
    """
    batch, count, _ = tokens.shape
    ranks = torch.rand(batch, count, device=tokens.device).argsort(1).argsort(1)
    return tokens * (ranks < int(count * (1 - ratio))).unsqueeze(-1)


def arcface_vit_t(
    embedding_size: int = 512, drop_path: float = 0.1, mask_ratio: float = 0.0
) -> VisionTransformer:
    """ViT-T: 12 blocks of 256, 19 million parameters."""
    return VisionTransformer(256, 12, embedding_size, drop_path, mask_ratio)


def arcface_vit_s(
    embedding_size: int = 512, drop_path: float = 0.05, mask_ratio: float = 0.0
) -> VisionTransformer:
    """ViT-S: 12 blocks of 512, 76 million parameters."""
    return VisionTransformer(512, 12, embedding_size, drop_path, mask_ratio)


def arcface_vit_b(
    embedding_size: int = 512, drop_path: float = 0.0, mask_ratio: float = 0.0
) -> VisionTransformer:
    """ViT-B: 24 blocks of 512, 114 million parameters."""
    return VisionTransformer(512, 24, embedding_size, drop_path, mask_ratio)


def arcface_vit_l(
    embedding_size: int = 512, drop_path: float = 0.0, mask_ratio: float = 0.0
) -> VisionTransformer:
    """ViT-L: 24 blocks of 768, 256 million parameters."""
    return VisionTransformer(768, 24, embedding_size, drop_path, mask_ratio)
