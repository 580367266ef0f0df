"""The collections of a gallery in Milvus: made, opened, or refused.

Three: NAME_people, whose vectors are the templates that are searched; NAME_faces, whose vectors
are the embeddings; and NAME_texts (`texts`): what the gallery is, its journal, crops, and changes
on their way. What a row means stands in `body`, as JSON (`rows`); its other fields are for finding
it: ids, and hashes of names and the like.
"""

from __future__ import annotations

from typing import Any

from pymilvus import DataType, MilvusClient

from mindface.gallery.milvus.server import Server

SCHEMA = 1
LONGEST = 65_535  # bytes of a string
TAGS = 4096  # of a person
VECTORS = {"people": None, "faces": None, "texts": 2}  # None: of the size of an embedding

Field = tuple[str, DataType, dict[str, Any]]

_HASH = {"max_length": 64}
FIELDS: dict[str, list[Field]] = {
    "people": [
        ("name", DataType.VARCHAR, _HASH),
        ("into", DataType.INT64, {}),  # whose alias it is, 0: nobody's
        ("since", DataType.DOUBLE, {}),
        ("until", DataType.DOUBLE, {}),
        (
            "tags",
            DataType.ARRAY,
            {"element_type": DataType.VARCHAR, "max_capacity": TAGS, "max_length": 64},
        ),
        ("searched", DataType.BOOL, {}),  # no alias, and a face that counts
        ("total", DataType.INT64, {}),  # checksum of the template
    ],
    "faces": [
        ("person", DataType.INT64, {}),
        ("content", DataType.VARCHAR, _HASH),
        ("photo", DataType.VARCHAR, _HASH),
    ],
    "texts": [
        ("kind", DataType.VARCHAR, _HASH),
        ("number", DataType.INT64, {}),
        ("part", DataType.INT64, {}),
        ("parts", DataType.INT64, {}),
        ("person", DataType.INT64, {}),
        ("other", DataType.INT64, {}),
        ("key", DataType.VARCHAR, _HASH),
        ("content", DataType.VARCHAR, _HASH),
    ],
}


def make(server: Server, gallery: str, size: int, index: str) -> None:
    """Makes those of the collections that are not there."""
    with server.translated():
        for name, fields in FIELDS.items():
            if server.client.has_collection(f"{gallery}_{name}"):
                continue
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            if name == "texts":
                schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
            else:
                schema.add_field("id", DataType.INT64, is_primary=True)
            for field, kind, options in fields:
                schema.add_field(field, kind, **options)
            schema.add_field("body", DataType.VARCHAR, max_length=LONGEST)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=VECTORS[name] or size)
            server.client.create_collection(
                f"{gallery}_{name}",
                schema=schema,
                index_params=_index(server, index if name == "people" else "exact"),
                consistency_level="Strong",
            )


def there(server: Server, gallery: str) -> bool:
    """Whether all collections are there; they are then loaded."""
    with server.translated():
        names = [f"{gallery}_{name}" for name in FIELDS]
        if not all(server.client.has_collection(name) for name in names):
            return False
        for name in names:
            server.client.load_collection(name)
    return True


def use_index(server: Server, gallery: str, index: str) -> None:
    """Has templates searched exactly, or by HNSW; nothing where they are already."""
    name = f"{gallery}_people"
    with server.translated():
        present = server.client.describe_index(name, "vector") or {}
        if present.get("index_type") == _TYPES[index][0]:
            return
        server.client.release_collection(name)
        server.client.drop_index(name, "vector")
        server.client.create_index(name, _index(server, index))
        server.client.load_collection(name)


_TYPES: dict[str, tuple[str, dict[str, int]]] = {
    "exact": ("FLAT", {}),
    "hnsw": ("HNSW", {"M": 16, "efConstruction": 200}),
}


def _index(server: Server, index: str) -> Any:
    kind, options = _TYPES[index]
    parameters = server.client.prepare_index_params()
    parameters.add_index("vector", index_type=kind, metric_type="IP", params=options)
    return parameters
