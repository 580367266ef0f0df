"""Galleries as folders of open files: written from any backend, read into any other.

`export_gallery` and `import_gallery` are what is used; `docs/gallery-format.md` describes the
files. Below them: `lines` (a row as a line of JSON), `manifest`, `folder` (what is read, checked),
and `restore` (rows into a gallery, under the ids that they had).
"""

from __future__ import annotations

from mindface.gallery.exchange.export import export_gallery
from mindface.gallery.exchange.folder import Export
from mindface.gallery.exchange.importing import import_gallery
from mindface.gallery.exchange.manifest import Counts, Manifest
from mindface.gallery.exchange.restore import Contents, fill

__all__ = [
    "Contents",
    "Counts",
    "Export",
    "Manifest",
    "export_gallery",
    "fill",
    "import_gallery",
]
