"""A web server on this machine that serves one weight, well or badly, and a catalogue naming it."""

import hashlib
import http.server
import random
import threading
from contextlib import contextmanager

import pytest
import yaml

from mindface.zoo import catalogue
from mindface.zoo import http as transport

NAME = "served"
CONTENT = random.Random(7).randbytes(300_000)
URL = "https://weights.invalid/releases/served.onnx"


def entry(content: bytes = CONTENT, **fields):
    """The fields of a recogniser's record."""
    return {
        "task": "recognition",
        "architecture": "none",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "url": URL,
        "licence": "MIT",
        "licence_class": "permissive",
        "preprocessing": {
            "color": "rgb",
            "mean": [127.5] * 3,
            "std": [127.5] * 3,
            "size": [112, 112],
        },
        "recognition": {"size": 512, "template": "arcface_112x112"},
        **fields,
    }


class Server(http.server.ThreadingHTTPServer):
    """Answers request by request as `plan` says, and well when the plan is at its end.

    Attributes:
        plan: what to do with the next requests: the name of a method of `Handler`, then its
            argument.
        ranges: the Range header of each request so far.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.ranges, self.paths = [], [], []
        self.content = CONTENT
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.paths.append(self.path)
        self.server.ranges.append(self.headers.get("Range"))
        plan = self.server.plan
        method, *arguments = plan.pop(0) if plan else ("well",)
        getattr(self, method)(*arguments)

    def start(self):
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0

    def head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def well(self, *, stop=None):
        start, size = self.start(), len(self.server.content)
        if start >= size:
            return self.head(416, Content_Range=f"bytes */{size}", Content_Length=0)
        if start:
            place = f"bytes {start}-{size - 1}/{size}"
            self.head(206, Content_Range=place, Content_Length=size - start)
        else:
            self.head(200, Content_Length=size)
        return self.wfile.write(self.server.content[start:stop])

    def cut(self, after):
        self.well(stop=self.start() + after)

    def whole(self):
        self.head(200, Content_Length=len(self.server.content))
        self.wfile.write(self.server.content)

    def unmeasured(self):
        self.head(200)
        self.wfile.write(self.server.content)

    def chunked(self, stop):
        self.head(200, Transfer_Encoding="chunked")
        self.wfile.write(f"{len(self.server.content):x}\r\n".encode())
        self.wfile.write(self.server.content[:stop])

    def other_part(self):
        size = len(self.server.content)
        self.head(206, Content_Range=f"bytes 5-{size - 1}/{size}", Content_Length=size - 5)
        self.wfile.write(self.server.content[5:])

    def endless(self):
        self.head(200)
        for _ in range(100):
            self.wfile.write(self.server.content)

    def huge(self):
        self.head(200, Content_Length=1 << 50)

    def status(self, code):
        self.head(code, Content_Length=0)

    def redirect(self, location):
        self.head(302, Location=location, Content_Length=0)

    def gibberish(self):
        self.wfile.write(b"\x00\xff no HTTP at all\r\n\r\n")

    def stall(self, event):
        event.wait(20)

    def after(self, event):
        event.wait(20)
        self.well()


@contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def use_catalogue(monkeypatch, path, **entries):
    """Makes `entries` the catalogue."""
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    monkeypatch.setattr(catalogue, "CATALOGUE", path)
    forget()


def forget():
    catalogue.entries.cache_clear()
    catalogue.get.cache_clear()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache directory; no variable of the user's reaches the test."""
    for name in ("MINDFACE_MIRROR", "MINDFACE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("MINDFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch, tmp_path, cache):
    """The server, as mirror of a catalogue whose one entry is `NAME`."""
    with serving() as running:
        monkeypatch.setenv("MINDFACE_MIRROR", running.url)
        monkeypatch.setattr(transport, "BACKOFF", 0.001)
        use_catalogue(monkeypatch, tmp_path / "catalogue.yaml", **{NAME: entry()})
        yield running
    forget()
