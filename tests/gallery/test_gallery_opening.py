"""Which backend a URL means, and what cannot be one."""

import sys

import pytest
from gallery_faces import CONTRACT, SIZE

from mindface.errors import GalleryError, MissingExtraError
from mindface.gallery import Gallery
from mindface.gallery.embedded import Embedded


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mongodb://localhost/people", "mongodb://: no such kind of gallery"),
        ("postgresql://localhost/x?gallery=a-b", "gallery=a-b: letters, digits"),
        ("postgresql://localhost/x?gallery=", "gallery=: letters, digits"),
        ("postgresql://localhost/x?index=ivf", "index=ivf: there are exact and hnsw"),
        ("milvus://localhost?sslmode=require", "no such option: sslmode"),
        ("milvus://localhost?secure=yes", "no such option: secure=yes"),
    ],
)
def test_what_cannot_be_is_refused(url, sentence):
    with pytest.raises(GalleryError, match=sentence):
        Gallery(url, CONTRACT, SIZE)


@pytest.mark.parametrize("server", ["postgres", "milvus"])
def test_what_is_not_installed_is_said(server, monkeypatch):
    for module in [each for each in sys.modules if each.startswith(f"mindface.gallery.{server}")]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("psycopg", "pymilvus"):
        monkeypatch.setitem(sys.modules, module, None)
    url = {"postgres": "postgresql://localhost/x", "milvus": "milvus://localhost"}[server]
    with pytest.raises(MissingExtraError, match=rf"pip install 'mindface\[{server}\]'"):
        Gallery(url, CONTRACT, SIZE)


def test_a_path_with_a_question_mark_is_a_path(tmp_path):
    with Gallery(tmp_path / "who?.db", CONTRACT, SIZE) as gallery:
        assert isinstance(gallery.backend, Embedded)
    assert (tmp_path / "who?.db").is_file()
