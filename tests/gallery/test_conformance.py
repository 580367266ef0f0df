"""The backends that there are."""

import pytest
from conformance import Conformance

import mindface.errors
from mindface.gallery import Gallery


class TestEmbedded(Conformance):
    @pytest.fixture
    def url(self, tmp_path):
        return tmp_path / "people.db"


def test_an_unknown_kind_of_gallery_is_refused():
    with pytest.raises(mindface.errors.GalleryError, match="no such kind of gallery"):
        Gallery("mongodb://localhost/people")
