"""What a gallery has to survive: being killed, full disks, flipped bits, and other processes."""

import errno
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from itertools import count, takewhile

import numpy as np
import pytest
from gallery_faces import CONTRACT, SIZE, everything, sample, unit

from mindface.errors import GalleryError, MindFaceError
from mindface.gallery import Gallery

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


def started(work):
    """A process that does `work(write)`, and what it writes, as a file to read."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # BLAS has threads
        process = os.fork()
    if process == 0:
        code = 1
        try:
            os.close(reading)
            work(lambda line: os.write(writing, f"{line}\n".encode()))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    return process, os.fdopen(reading, "r")


def ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def said(process, lines):
    """What a process wrote, when it ended well."""
    with lines:
        text = lines.read()
    assert ended(process) == 0
    return text


def vectors_of(name):
    return unit(1, seed=int(name.split()[1])).repeat(3, axis=0)


def a_life(path, seed):
    """Enrols, removes and forgets people, and says so before and after."""

    def work(write):
        random.seed(seed)
        with Gallery(path) as gallery:
            there = [person.name for person in gallery.people() if person.name != "anchor"]
            for number in range(1000 * seed, 1000 * seed + 900):
                name = f"person {number}"
                write(f"enroll {name}")
                gallery.enroll(name, [sample(each, 1) for each in vectors_of(name)])
                write("done")
                there.append(name)
                if random.random() < 0.4:
                    write(f"remove {name}")
                    gallery.remove([gallery.faces(name)[0].id])
                    write("done")
                if random.random() < 0.2:
                    write(f"forget {there[0]}")
                    gallery.forget(there.pop(0))
                    write("done")
                if random.random() < 0.3:
                    gallery.identify(unit(1))

    return work


def applied(state, line):
    """How many faces each person has after an action."""
    action, name = line.split(maxsplit=1)
    after = dict(state)
    if action == "forget":
        del after[name]
    else:
        after[name] = 3 if action == "enroll" else after[name] - 1
    return after


def test_what_was_acknowledged_survives_a_kill_at_any_moment(path, long):
    with Gallery(path, CONTRACT, SIZE) as gallery:
        gallery.enroll("anchor", unit(1, seed=7))
    state = {}
    moments = random.Random(3)
    for seed in range(1, 201 if long else 21):
        process, lines = started(a_life(path, seed))
        first = lines.readline()
        time.sleep(moments.random() * 0.3)
        os.kill(process, signal.SIGKILL)
        with lines:
            told = [first, *lines]
        assert ended(process) == -signal.SIGKILL
        pending = None
        for line in map(str.strip, told):
            if line == "done":
                state, pending = applied(state, pending), None
            else:
                pending = line
        allowed = [state] + ([applied(state, pending)] if pending else [])
        with Gallery(path) as gallery:
            found = {person.name: person.embeddings for person in gallery.people()}
            assert found.pop("anchor") == 1
            assert found in allowed, (seed, pending)
            assert gallery.integrity() == []
            assert gallery.identify(unit(1, seed=7))[0].person == "anchor"
            for name in [*found][-3:]:
                (match,) = gallery.identify(vectors_of(name)[2:])
                assert match.person == name
        state = found


@pytest.mark.timeout(900)
def test_two_write_and_four_read_at_once(path, long):
    seconds = 300 if long else 3
    anchor = unit(1, seed=7)
    with Gallery(path, CONTRACT, SIZE) as gallery:
        gallery.enroll("anchor", anchor)

    def writes(first):
        def work(write):
            with Gallery(path) as gallery:
                for number in takewhile(lambda _: time.monotonic() < end, count(first)):
                    gallery.enroll(f"person {number}", vectors_of(f"person {number}"))
                    gallery.rename(f"person {number}", f"renamed {number}")
                    gallery.identify(anchor)
            write(number + 1)

        return work

    def reads(write):
        looks = 0
        with Gallery(path) as gallery:
            while not path.with_name("stop").exists():
                (match,) = gallery.identify(anchor)
                assert match.person == "anchor"
                assert match.similarity > 0.999
                for person in gallery.people():
                    assert person.embeddings in (1, 3), person
                looks += 1
        write(looks)

    end = time.monotonic() + seconds
    readers = [started(reads) for _ in range(4)]
    writers = [started(writes(first)) for first in (0, 1_000_000)]
    stops = [int(said(*each)) for each in writers]
    path.with_name("stop").touch()
    looks = [int(said(*each)) for each in readers]
    with Gallery(path) as gallery:
        names = sorted(person.name for person in gallery.people())
        numbers = [*range(stops[0]), *range(1_000_000, stops[1])]
        assert names == sorted(["anchor", *(f"renamed {number}" for number in numbers)])
        assert gallery.integrity() == []
    sys.stdout.write(f"{seconds} s: {len(names)} people, looked at {sum(looks)} times\n")


def test_two_create_a_gallery_at_once(path):
    def creates(write):
        with Gallery(path, CONTRACT, SIZE) as gallery:
            gallery.enroll(f"person {os.getpid()}", unit(1))

    assert [said(*each) for each in [started(creates) for _ in range(4)]] == [""] * 4
    with Gallery(path) as gallery:
        assert len(gallery.people()) == 4


@pytest.mark.parametrize("room", [0, 20_000, 200_000])
def test_a_full_disk_is_a_clear_error_and_nothing_is_lost(path, room):
    """The system refuses to let any file grow beyond a limit."""
    with Gallery(path, CONTRACT, SIZE) as gallery:
        gallery.enroll("Ada", unit(2))
        before = everything(gallery)

    def fills(write):
        gallery = Gallery(path)
        gallery.identify(unit(1))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = path.stat().st_size + room
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(GalleryError, match="disk is full or fails") as refused:
            gallery.add_many((f"person {each}", [sample(unit(1)[0], each)]) for each in range(5000))
        write(f"refused: {refused.value}")
        assert everything(gallery) == before
        assert gallery.identify(unit(1))[0].person == "Ada"

    assert said(*started(fills)).startswith("refused: ")
    with Gallery(path) as gallery:
        assert everything(gallery) == before
        assert gallery.integrity() == []
        gallery.enroll("Bob", unit(1, seed=1))


def test_a_matrix_that_cannot_be_written_loses_nothing(path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Gallery(path, CONTRACT, SIZE) as gallery:
        gallery.enroll("Ada", unit(1))
        gallery.identify(unit(1))
        monkeypatch.setattr("mindface.gallery.matrix.os.fsync", full)
        gallery.enroll("Bob", unit(1, seed=1))
        with pytest.raises(GalleryError, match="No space left on device: what was acknowledged"):
            gallery.identify(unit(1))
    monkeypatch.undo()
    with Gallery(path) as gallery:
        assert gallery.identify(unit(1, seed=1))[0].person == "Bob"
        assert gallery.integrity() == []


def test_a_flipped_bit_is_never_a_wrong_answer(path, tmp_path, long):
    with Gallery(path, CONTRACT, SIZE) as gallery:
        for number in range(12):
            gallery.enroll(f"person {number}", [sample(unit(1, seed=number)[0], number)])
        gallery.merge("person 0", "person 1")
        gallery.reject("person 2", "photo")
        right = everything(gallery)
        entries = gallery.entries()
        probes = np.concatenate([unit(1, seed=number) for number in range(2, 12)])
        answers = [match.person for match in gallery.identify(probes)]
    files = sorted(each for each in path.parent.iterdir() if not each.name.endswith("-lock"))
    sizes = np.array([each.stat().st_size for each in files])
    dice = np.random.default_rng(1)
    noticed = 0
    flips = 1500 if long else 80
    for _ in range(flips):
        copied = tmp_path / "copy"
        shutil.rmtree(copied, ignore_errors=True)
        copied.mkdir()
        for each in files:
            shutil.copy(each, copied)
        victim = copied / files[dice.choice(len(files), p=sizes / sizes.sum())].name
        data = bytearray(victim.read_bytes())
        place = int(dice.integers(len(data)))
        data[place] ^= 1 << int(dice.integers(8))
        victim.write_bytes(data)
        try:
            with Gallery(copied / path.name, CONTRACT, SIZE) as gallery:
                same = (
                    everything(gallery) == right
                    and gallery.entries() == entries
                    and [match.person for match in gallery.identify(probes)] == answers
                )
                faults = gallery.integrity()
        except MindFaceError:
            noticed += 1
            continue
        assert same or faults, (victim.name, place)
        noticed += bool(faults)
    assert noticed
    sys.stdout.write(f"{flips} flips: {noticed} noticed, the others changed nothing that is read\n")
