"""From a folder that `export_gallery` wrote to a gallery of any backend."""

from __future__ import annotations

from pathlib import Path

from mindface.errors import GalleryError
from mindface.gallery.embedded import Embedded
from mindface.gallery.encryption import Key
from mindface.gallery.exchange.folder import Export
from mindface.gallery.exchange.items import Watch, unwatched
from mindface.gallery.exchange.manifest import Manifest
from mindface.gallery.exchange.restore import fill
from mindface.gallery.gallery import Gallery, StrPath


def import_gallery(
    folder: StrPath, url: StrPath, *, watch: Watch = unwatched, key: Key | None = None
) -> Manifest:
    """Reads an export into a new or empty gallery: every row as it was, under the same ids.

    Everything is checked before the gallery is opened. Stopped, it may be given again; given
    again when it is done, it does nothing.

    Args:
        folder: of the export.
        url: of the gallery; made if absent.
        watch: sees the faces go by, as they are checked and as they are written.
        key: of an encrypted gallery.

    Returns:
        What the export says of itself.

    Raises:
        GalleryError: it is no export, of a newer version, or a file or row of it is missing or
            cannot be; or the gallery holds something else, or cannot be written.
        IntegrityError: a file is not what was exported.
        ContractError: the gallery is for another model's embeddings.
    """
    export = Export(Path(folder))
    total = export.manifest.counts.faces
    try:
        for _ in watch(export.check(), total):
            pass
        with Gallery(url, export.contract, export.size, key=key) as gallery:
            fill(gallery.backend, export, watch, total)
            if isinstance(gallery.backend, Embedded):
                gallery.backend.rebuild()
    except OSError as error:
        raise GalleryError(f"{folder}: cannot be read: {error.strerror or error}") from error
    return export.manifest
