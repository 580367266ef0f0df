"""Galleries in Milvus, or in a folder of Milvus Lite."""

from __future__ import annotations

from mindface.gallery.milvus.backend import Milvus

__all__ = ["Milvus"]
