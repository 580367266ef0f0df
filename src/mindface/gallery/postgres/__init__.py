"""Galleries in PostgreSQL, with the extension pgvector."""

from __future__ import annotations

from mindface.gallery.postgres.backend import Postgres

__all__ = ["Postgres"]
