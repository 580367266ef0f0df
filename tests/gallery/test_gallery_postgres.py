"""What a gallery in PostgreSQL does beyond what all do."""

import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import psycopg
import pytest
from gallery_faces import CONTRACT, SIZE, everything, jpeg, recalled, sample, unit

from mindface.cli.gallery.forget import _print
from mindface.cli.gallery.shared import open_gallery
from mindface.errors import GalleryError, IntegrityError
from mindface.gallery import Gallery
from mindface.gallery.rows import Details


@pytest.fixture
def url(postgres_url):
    return postgres_url


@pytest.fixture
def gallery(url):
    with Gallery(url, CONTRACT, SIZE) as gallery:
        yield gallery


@pytest.fixture
def psql(url):
    """Another program's connection, which sees the gallery's tables."""
    address, _, name = url.partition("&gallery=")
    with closing(psycopg.connect(address, autocommit=True)) as connection:
        connection.execute(f"SET search_path = {name}, public")
        yield connection


def test_it_is_made_only_where_it_is_said_for_what(url):
    with pytest.raises(GalleryError, match="no such gallery: to make one"):
        Gallery(url)


def test_the_command_line_makes_none_that_is_only_asked(url):
    with pytest.raises(GalleryError, match="no such gallery: to make one"):
        open_gallery(url, recognizer=object(), key_file=None)


def test_several_galleries_share_a_database(url, gallery):
    with Gallery(f"{url}2", CONTRACT, 2 * SIZE) as other:
        gallery.enroll("Ada", unit(1))
        other.enroll("Bob", unit(1, 2 * SIZE))
        assert [person.name for person in gallery.people()] == ["Ada"]
        assert [person.name for person in other.people()] == ["Bob"]


def test_a_newer_schema_and_another_programs_tables_are_refused(url, gallery, psql):
    psql.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    with pytest.raises(GalleryError, match=r"has schema 99, and this MindFace knows up to 1"):
        Gallery(url)
    psql.execute("DROP TABLE journal")
    with pytest.raises(GalleryError, match="tables of another program"):
        Gallery(url, CONTRACT, SIZE)


def test_passwords_are_not_shown():
    url = "postgresql://me:secret@localhost:1/db?password=hidden&connect_timeout=2"
    with pytest.raises(GalleryError, match=r"localhost:1/db.*no connection") as refused:
        Gallery(url, CONTRACT, SIZE)
    assert "secret" not in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_a_lost_connection_is_said_and_made_anew(gallery, psql):
    gallery.enroll("Ada", unit(1), operation="1")
    pid = gallery.backend.rows("SELECT pg_backend_pid()")[0][0]
    psql.execute("SELECT pg_terminate_backend(%s)", (pid,))
    with pytest.raises(GalleryError, match=r"terminat|no connection"):
        gallery.enroll("Bob", unit(1, seed=1), operation="2")
    gallery.enroll("Bob", unit(1, seed=1), operation="2")
    gallery.enroll("Ada", unit(1), operation="1")
    assert [(each.name, each.embeddings) for each in gallery.people()] == [("Ada", 1), ("Bob", 1)]


def test_writers_take_turns_and_lose_nothing(url, gallery):
    said = []

    def writes(name):
        try:
            with Gallery(url) as own:
                for number in range(6):
                    own.enroll(f"{name} {number}", unit(1, seed=number))
                    own.enroll("both", unit(1, seed=number))
        except Exception as error:
            said.append(error)

    threads = [threading.Thread(target=writes, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == []
    assert {person.name: person.embeddings for person in gallery.people()} == {"both": 18} | {
        f"{name} {number}": 1 for name in "abc" for number in range(6)
    }
    assert [entry.id for entry in gallery.entries()] == [*range(1, 37)]
    assert gallery.integrity() == []


def test_a_reader_sees_one_moment(url, gallery):
    gallery.enroll("Ada", unit(1))
    with Gallery(url) as other, other.backend.reading():
        assert other.backend.last_entry() == 1
        gallery.enroll("Bob", unit(1, seed=1))
        assert other.backend.last_entry() == 1
        assert len(other.backend.people()) == 1
        with pytest.raises(GalleryError, match="read-only"):
            other.backend.put_meta("a", "b")


def test_one_that_waits_too_long_is_told_so(url, gallery):
    with Gallery(url) as other:
        other.backend.rows("SET lock_timeout = '50ms'")
        with gallery.backend.writing(), pytest.raises(GalleryError, match="others have been using"):
            other.enroll("Ada", unit(1))
        other.enroll("Ada", unit(1))


def test_text_with_a_nul_is_refused_and_nothing_changes(gallery):
    gallery.enroll("Ada", unit(1))
    before = everything(gallery)
    with pytest.raises(GalleryError, match="PostgreSQL cannot store text with a NUL"):
        gallery.add_many([("Bob", unit(1)), ("a\x00b", unit(1))])
    with pytest.raises(GalleryError, match="NUL"):
        gallery.reject("Ada", "photo\x00:1")
    assert everything(gallery) == before


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("UPDATE people SET name = 'Eve' WHERE id = 1", "person 1 is damaged"),
        ("UPDATE faces SET quality = quality + 1 WHERE id = 1", "face 1 of person 1 is damaged"),
        ("UPDATE crops SET jpeg = jpeg || '\\x00'", "the crop of face 1 is damaged"),
        ("UPDATE journal SET payload = '{}' WHERE id = 1", "entry 1 of the journal is damaged"),
        ("UPDATE templates SET since = 0", "the template of person 1 is damaged"),
        ("DELETE FROM templates", "the template of person 1 is not of its faces"),
    ],
)
def test_damage_is_found(gallery, psql, damage, fault):
    gallery.enroll("Ada", [sample(unit(1)[0])])
    psql.execute(damage)
    try:
        faults = gallery.integrity()
    except IntegrityError as error:
        faults = [str(error)]
    assert len(faults) == 1
    assert fault in faults[0]
    if "template" in damage:
        gallery.backend.rebuild()
        assert gallery.integrity() == []


def test_an_index_is_used_where_the_url_says_so_and_only_there(url, gallery, psql):
    """Over 1,500 random people, the hardest case: none is near any other."""
    vectors = unit(1500, seed=2)
    rows = [(f"p{number}", vectors[number : number + 1]) for number in range(len(vectors))]
    gallery.add_many(rows)
    queries = unit(100, seed=3)
    exact = gallery.backend.search(queries, 10)
    np.testing.assert_array_equal(
        exact.people, 1 + np.argsort(-(queries.astype(float) @ vectors.T), kind="stable")[:, :10]
    )
    with Gallery(f"{url}&index=hnsw") as indexed:
        indexed.backend.rows("SET enable_seqscan = off")
        found = indexed.backend.search(queries, 10)
        assert gallery.backend.search(queries, 10).people.tolist() == exact.people.tolist()
        psql.execute("SET enable_seqscan = off")
        plan = psql.execute(
            "EXPLAIN SELECT person FROM templates WHERE since <= 1 "
            "ORDER BY vector <#> %s::real[]::vector LIMIT 5",
            (queries[0].tolist(),),
        ).fetchall()
        assert "templates_hnsw" in str(plan)
        recall = recalled(exact, found)
        assert recall >= 0.95, recall
        where = [
            vector in indexed.backend.search(vectors[:20], 1).people for vector in range(1, 21)
        ]
        assert all(where)
        indexed.forget("p7")
        assert 8 not in indexed.backend.search(vectors[7:8], 5).people


def test_what_an_index_cannot_hold_is_refused(url):
    with pytest.raises(GalleryError, match="up to 2000 values, not of 2001"):
        Gallery(f"{url}&index=hnsw", CONTRACT, 2001)
    with Gallery(url, CONTRACT, 2001) as gallery:
        gallery.enroll("Ada", unit(1, 2001))
        assert gallery.identify(unit(1, 2001))[0].similarity == pytest.approx(1)


def test_filters_are_the_databases(gallery):
    vectors = unit(60)
    gallery.journal.enroll(
        {f"p{number}": [sample(vectors[number], number)] for number in range(60)},
        {f"p{number}": Details(("odd",), None, 9.0) for number in range(1, 60, 2)},
    )
    found = gallery.backend.search(vectors[:2], 40, ["odd"])
    assert found.compared == 30
    assert np.count_nonzero(found.people, axis=1).tolist() == [30, 30]
    assert (found.people[found.people > 0] % 2 == 0).all()
    assert (found.scores[:, 30:] == -1).all()
    assert gallery.backend.search(vectors[:2], 1, at=9.0).compared == 30
    assert gallery.backend.search(vectors[:2], 1, ["odd"], 8.5).compared == 30


def _files(folder: Path) -> bytes:
    """All files of the database but the write-ahead log."""
    files = (each for each in (folder / "data").rglob("*") if each.is_file())
    return b"".join(each.read_bytes() for each in files if "pg_wal" not in each.parts)


def test_forgetting_leaves_nothing_in_the_tables_files(gallery, psql, postgres_folder, capsys):
    name, face = "Zoë the fox Lovelace", sample(unit(1, seed=70)[0], 70, path="/photos/zoe-70.jpg")
    gallery.add_many((f"other {number}", unit(1, seed=number)) for number in range(50))
    gallery.enroll("Zoë, formerly", [face], tags=["a tag of hers"])
    gallery.rename("Zoë, formerly", name)
    gallery.reject("other 3", face.content)
    traces = [name.encode(), b"formerly", b"zoe-70", b"a tag of hers", jpeg(70)[80:112]]
    traces += [face.embedding.tobytes()[:32], face.content.encode()]
    psql.execute("ANALYZE")
    psql.execute("CHECKPOINT")
    assert all(each in _files(postgres_folder) for each in traces)
    receipt = gallery.forget(name)
    data = _files(postgres_folder)
    assert [each for each in traces if each in data] == []
    assert (receipt.people, receipt.names, receipt.faces, receipt.crops) == (1, 2, 1, 1)
    assert receipt.entries == 2  # rename and reject; enrolments name nobody
    assert (receipt.rewritten, receipt.checkpointed, receipt.clean) == (True, True, False)
    assert receipt.compacted[0] == "VACUUM FULL people"
    assert receipt.compacted[-1] == "CHECKPOINT"
    assert "write-ahead log" in receipt.unpromised[0]
    _print(receipt, 0, as_json=False)
    assert "cannot be promised: the write-ahead log" in capsys.readouterr().out
    assert len(gallery.people()) == 50
    assert gallery.integrity() == []


def test_what_could_not_be_compacted_is_said(gallery, psql, monkeypatch):
    monkeypatch.setattr("mindface.gallery.postgres.erasing.PATIENCE", "50ms")
    gallery.enroll("Ada", unit(1))
    with psql.transaction():
        psql.execute("SELECT * FROM faces")
        receipt = gallery.forget("Ada")
    assert not receipt.checkpointed
    assert "VACUUM faces" in receipt.compacted
    assert "files of the table faces: not written anew" in receipt.unpromised
    assert gallery.people() == []


def test_recovery_is_the_servers(gallery, tmp_path):
    with pytest.raises(GalleryError, match="is on a server: restore a backup"):
        gallery.recover(tmp_path / "new.db")
