"""The backends that there are."""

import pytest
from conformance import Conformance

from mindface.gallery import Key


class TestEmbedded(Conformance):
    @pytest.fixture
    def url(self, tmp_path):
        return tmp_path / "people.db"


class TestEncrypted(Conformance):
    key = Key(bytes(range(32)))

    @pytest.fixture
    def url(self, tmp_path):
        return tmp_path / "people.db"


class TestPostgres(Conformance):
    @pytest.fixture
    def url(self, postgres_url):
        return postgres_url


class TestPostgresByIndex(Conformance):
    @pytest.fixture
    def url(self, postgres_url):
        return f"{postgres_url}&index=hnsw"


class TestMilvus(Conformance):
    @pytest.fixture
    def url(self, milvus_url):
        return milvus_url
