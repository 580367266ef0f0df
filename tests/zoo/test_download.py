import os
import subprocess
import sys
import threading

import pytest
from weight_server import CONTENT, NAME, URL, entry, use_catalogue

from mindface import zoo
from mindface.errors import DownloadError, IntegrityError, ModelError, UnknownModelError
from mindface.zoo import http as transport
from mindface.zoo.download import address, fetch
from mindface.zoo.lock import locked

HALF = len(CONTENT) // 2


def part(cache):
    return next(iter((cache / "models").glob("*.part")), None)


def test_a_weight_is_fetched_once(server):
    seen = []
    path = fetch(NAME, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert zoo.local_path(zoo.get(NAME)) == path
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(NAME) == path
    assert server.paths == ["/releases/served.onnx"]


@pytest.mark.parametrize(
    "plan",
    [
        [("cut", HALF)],
        [("cut", 1000), ("cut", 1000), ("cut", 1000)],
        [("cut", 0), ("status", 503), ("gibberish",)],
        [("cut", HALF), ("whole",)],
        [("cut", HALF), ("other_part",)],
        [("unmeasured",)],
        [("chunked", 1000)],
        [("chunked", HALF), ("chunked", 1000)],
        [("status", 429)],
        [("redirect", "/elsewhere")],
        [("cut", HALF), ("redirect", "/elsewhere")],
    ],
)
def test_what_goes_wrong_and_is_mended(server, cache, plan):
    server.plan = plan
    assert fetch(NAME).read_bytes() == CONTENT
    assert part(cache) is None


def test_a_cut_download_goes_on_where_it_stopped(server):
    server.plan = [("cut", 1000), ("cut", 2000)]
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", "bytes=3000-"]


def test_a_server_that_knows_no_ranges_sends_all_once_more(server):
    server.plan = [("cut", 1000), ("whole",)]
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_progress_earns_more_tries(server, monkeypatch):
    monkeypatch.setattr(transport, "PROGRESS", 30_000)
    server.plan = [("cut", 30_000)] * 9
    assert fetch(NAME).read_bytes() == CONTENT


def test_tries_come_to_an_end_and_what_came_is_kept(server, cache):
    server.plan = [("cut", 1000)] * transport.TRIES
    with pytest.raises(DownloadError, match="kept"):
        fetch(NAME)
    assert part(cache).read_bytes() == CONTENT[: 1000 * transport.TRIES]
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={1000 * transport.TRIES}-"


def test_an_interruption_keeps_what_came(server, cache):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(NAME, progress=interrupt)
    kept = part(cache).stat().st_size
    assert kept > 0
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={kept}-"]


def test_a_whole_part_needs_no_bytes(server, cache):
    keep(cache, CONTENT)
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize(
    "damage", [b"x" * HALF, CONTENT + b"more", b"x" * len(CONTENT)], ids=["half", "longer", "whole"]
)
def test_a_damaged_part_is_fetched_anew(server, cache, damage):
    keep(cache, damage)
    assert fetch(NAME).read_bytes() == CONTENT


def keep(cache, content):
    record = zoo.get(NAME)
    (cache / "models").mkdir(parents=True)
    (cache / "models" / f"{NAME}-{record.sha256[:12]}.part").write_bytes(content)


def test_a_wrong_hash_leaves_nothing(server, cache):
    server.content = bytes(len(CONTENT))
    with pytest.raises(IntegrityError, match="deleted"):
        fetch(NAME)
    assert {path.suffix for path in (cache / "models").iterdir()} == {".lock"}


def test_a_damaged_file_is_fetched_again(server):
    path = fetch(NAME)
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(IntegrityError, match="models fetch served"):
        zoo.resolve(NAME, task="recognition")
    assert fetch(NAME).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1/x.onnx",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x.onnx",
        "data:,x",
        "FILE:/etc/passwd",
        "gopher://127.0.0.1",
    ],
)
def test_a_redirect_to_another_scheme_is_refused(server, location):
    server.plan = [("redirect", location)]
    with pytest.raises(DownloadError, match="scheme"):
        fetch(NAME)
    assert len(server.paths) == 1


def test_from_https_no_redirect_leads_away():
    handler = transport._SameScheme()
    request = transport.Request(URL)
    for location in ("http://weights.invalid/x", "file:///etc/passwd", "ftp://weights.invalid/x"):
        with open(os.devnull, "rb") as body, pytest.raises(DownloadError, match="scheme"):
            handler.http_error_302(request, body, 302, "Found", {"Location": location})


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ([("status", 404)], "404"),
        ([("status", 403)], "403"),
        ([("endless",)], "more bytes than"),
        ([("huge",)], "more bytes than"),
        ([("redirect", "/again")] * 20, "302"),
        ([("redirect", "http://[broken/")], "address"),
        ([("gibberish",)] * 9, "gave up"),
        ([("status", 500)] * 9, "500"),
    ],
)
def test_what_cannot_be_mended(server, plan, sentence):
    server.plan = plan
    with pytest.raises(DownloadError, match=sentence):
        fetch(NAME)


def test_a_stalled_server_is_given_up(server, monkeypatch):
    monkeypatch.setattr(transport, "TIMEOUT", 0.05)
    over = threading.Event()
    server.plan = [("stall", over)] * 9
    with pytest.raises(DownloadError, match="timed out"):
        fetch(NAME)
    over.set()


def test_no_server_at_all(server, monkeypatch):
    monkeypatch.setenv("MINDFACE_MIRROR", "http://127.0.0.1:1")
    with pytest.raises(DownloadError, match="no connection"):
        fetch(NAME)


def test_offline(server, monkeypatch):
    with pytest.raises(DownloadError, match="offline"):
        fetch(NAME, offline=True)
    monkeypatch.setenv("MINDFACE_OFFLINE", "1")
    with pytest.raises(DownloadError, match="offline"):
        fetch(NAME)
    monkeypatch.setenv("MINDFACE_OFFLINE", "0")
    path = fetch(NAME)
    monkeypatch.setenv("MINDFACE_OFFLINE", "yes")
    assert fetch(NAME) == path
    assert len(server.paths) == 1


def test_names_that_cannot_be_fetched(server, monkeypatch, tmp_path):
    use_catalogue(monkeypatch, tmp_path / "catalogue.yaml", local=entry(url=None))
    with pytest.raises(ModelError, match="no public address"):
        fetch("local")
    with pytest.raises(UnknownModelError, match="local"):
        fetch("locale")


@pytest.mark.parametrize(
    ("mirror", "expected"),
    [
        ("", URL),
        ("https://mirror.example", "https://mirror.example/releases/served.onnx"),
        ("https://mirror.example/a/b/", "https://mirror.example/a/b/releases/served.onnx"),
        ("http://10.0.0.1:8080/m", "http://10.0.0.1:8080/m/releases/served.onnx"),
        ("mirror.example", None),
        ("file:///srv", None),
        ("ftp://mirror.example", None),
        ("https://", None),
        ("https://user:secret@mirror.example", None),
        ("https://mirror.example/?q=", None),
        ("https://[broken", None),
    ],
)
def test_mirror(monkeypatch, mirror, expected):
    monkeypatch.setenv("MINDFACE_MIRROR", mirror)
    if expected:
        assert address(URL) == expected
    else:
        with pytest.raises(DownloadError, match="MINDFACE_MIRROR") as caught:
            address(URL)
        assert "secret" not in str(caught.value)


def test_the_cache_cannot_be_written(server, cache):
    cache.write_text("a file where the directory should be")
    with pytest.raises(DownloadError, match="MINDFACE_CACHE"):
        fetch(NAME)


def test_a_full_disk(server, cache):
    resource = pytest.importorskip("resource")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, limit[1]))
    try:
        with pytest.raises(DownloadError, match="cannot be written"):
            fetch(NAME)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert fetch(NAME).read_bytes() == CONTENT
    assert server.ranges[0] is None
    assert server.ranges[1]


def test_too_little_room_is_said_before_the_download(server, cache, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(transport.shutil, "disk_usage", lambda path: usage(10, 0, 10))
    with pytest.raises(DownloadError, match="10 are free"):
        fetch(NAME)


FETCH = """
import sys
from pathlib import Path
from mindface.zoo import catalogue, fetch
catalogue.CATALOGUE = Path(sys.argv[1])
print("ready", flush=True)
print(fetch("served"))
"""


def test_two_processes_at_once_fetch_once(server, tmp_path):
    both_run = threading.Event()
    server.plan = [("after", both_run)]
    command = [sys.executable, "-c", FETCH, str(tmp_path / "catalogue.yaml")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    both_run.set()
    paths = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert paths == {str(zoo.local_path(zoo.get(NAME)))}
    assert server.ranges == [None]


HOLD = """
import sys, time
from pathlib import Path
from mindface.zoo.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_lock_ends_with_its_owner(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "x.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "held\n"
        owner.kill()
    with locked(tmp_path / "x.lock"):
        pass


def test_a_lock_keeps_threads_apart(tmp_path):
    entered = threading.Event()

    def enter():
        with locked(tmp_path / "x.lock"):
            entered.set()

    thread = threading.Thread(target=enter)
    with locked(tmp_path / "x.lock"):
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(20)
    thread.join()
