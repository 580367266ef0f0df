from dataclasses import replace
from itertools import pairwise

import ijb_sample
import numpy as np
import pytest

from mindface.errors import IntegrityError
from mindface.recognition.ijb import pool, read_ijb, reference_tar, search, verify


@pytest.fixture
def ijb(tmp_path):
    return read_ijb(ijb_sample.write(tmp_path), "ijbc")


@pytest.mark.parametrize("name", ["ijbb", "ijbc"])
def test_the_official_lists_are_read(tmp_path, name):
    ijb = read_ijb(ijb_sample.write(tmp_path, name), name)
    assert ijb.images == tuple(f"{i}.jpg" for i in range(1, 10))
    assert ijb.landmarks.dtype == ijb.detector_scores.dtype == np.float32
    np.testing.assert_allclose(ijb.landmarks[1], 2 + np.arange(10).reshape(5, 2) / 8)
    np.testing.assert_allclose(ijb.detector_scores, [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 1])
    assert ijb.templates.tolist() == [1, 4, 2, 3, 4, 5, 6, 4, 6]
    assert ijb.media.tolist() == [71, 74, 72, 73, 75, 76, 77, 74, 78]
    assert ijb.pairs.tolist() == [[a, b] for a, b, _ in ijb_sample.PAIRS]
    assert ijb.labels.tolist() == [True] * 3 + [False] * 5
    assert ijb.gallery1.tolist() == [[1, 10], [2, 30]]
    assert ijb.gallery2.tolist() == [[3, 20]]
    assert ijb.probes.tolist() == [[4, 10], [5, 20], [6, 30]]


@pytest.mark.parametrize(
    ("options", "third", "fourth", "sixth"),
    [
        # Template 4: ((3 + 1, 0) + (0, 4) / 2) / 2 + (1, 1 + 2) = (3, 4).
        ({}, (4, 3), (3, 4), (3, 4)),
        ({"flip": False}, (1, 1), (2.5, 2), (1.5, 1)),
        ({"detector_score": False}, (4, 3), (3, 5), (6, 4)),
        (
            {"feature_norm": False},
            (4, 3),
            (0.5 + 1 / np.sqrt(10), 0.25 + 3 / np.sqrt(10)),
            (0.5, 1),
        ),
    ],
)
@pytest.mark.parametrize("batch", [1, 2, 9])
def test_templates_by_hand(ijb, options, third, fourth, sixth, batch):
    templates = pool(ijb, ijb_sample.features(batch=batch), **options)
    assert templates.ids.tolist() == [1, 2, 3, 4, 5, 6]
    expected = np.array([(1, 0), (0, 1), third, fourth, sixth], float)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(templates.of(np.array([1, 2, 3, 4, 6])), expected, atol=1e-7)


def naive_templates(ijb, upright, mirrored, flip, detector_score, feature_norm):
    """A loop over templates, their media and their images."""
    rows = []
    for template in sorted(set(ijb.templates)):
        total = np.zeros(upright.shape[1])
        for medium in sorted(set(ijb.media[ijb.templates == template])):
            images = np.flatnonzero((ijb.templates == template) & (ijb.media == medium))
            faces = []
            for image in images:
                face = upright[image].astype(float)
                face = face + mirrored[image] if flip else face
                face = face if feature_norm else face / np.sqrt((face**2).sum())
                faces.append(face * float(ijb.detector_scores[image]) if detector_score else face)
            total += sum(faces) / len(faces)
        rows.append(total / np.sqrt((total**2).sum()))
    return np.array(rows)


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("detector_score", [True, False])
@pytest.mark.parametrize("feature_norm", [True, False])
def test_templates_are_those_of_a_loop(ijb, flip, detector_score, feature_norm):
    rng = np.random.default_rng(0)
    ijb = replace(
        ijb,
        templates=rng.integers(100, 130, 300),
        media=rng.integers(40, 50, 300),
        detector_scores=rng.random(300).astype(np.float32),
    )
    upright, mirrored = rng.normal(size=(2, 300, 8)).astype(np.float32)
    options = {
        "flip": flip,
        "detector_score": detector_score,
        "feature_norm": feature_norm,
    }
    parts = zip(np.split(upright, [7, 200]), np.split(mirrored, [7, 200]), strict=True)
    np.testing.assert_allclose(
        pool(ijb, parts, **options).embeddings,
        naive_templates(ijb, upright, mirrored, **options),
        atol=1e-6,
    )


def test_a_face_that_cannot_be_embedded_adds_nothing(ijb):
    none = np.zeros((9, 2), np.float32)
    for feature_norm in (True, False):
        templates = pool(ijb, [(none, none)], feature_norm=feature_norm)
        assert not templates.embeddings.any()


@pytest.mark.parametrize("count", [0, 8, 10])
def test_every_image_has_one_feature(ijb, count):
    rows = np.ones((count, 2), np.float32)
    with pytest.raises(ValueError, match=f"^{count} features for 9 images"):
        pool(ijb, [(rows, rows)])


def test_verification_by_hand(ijb):
    result = verify(ijb, pool(ijb, ijb_sample.features()), [0.1, 1.0])
    assert result.reference == {0.1: 1 / 3, 1.0: 1.0}  # 1.0 is the only score above 0.96
    table = result.table
    np.testing.assert_allclose(table.genuine, [1, 0.8, 0.6], atol=1e-6)
    np.testing.assert_allclose(table.impostor, [0.96, 0.96, 0.8, 0.8, 0.6], atol=1e-6)
    assert table.genuine_people.tolist() == [1, 2, 0]  # subjects 20, 30, 10
    assert sorted(table.impostor_people.tolist()) == [[0, 1], [0, 1], [0, 2], [0, 2], [1, 2]]
    assert table.people_pairs == 3
    assert table.tar(table.threshold(0)) == pytest.approx(1 / 3)


def test_a_template_that_no_list_names_is_a_subject_of_its_own(ijb):
    ijb = replace(ijb, probes=ijb.probes[:2])
    table = verify(ijb, pool(ijb, ijb_sample.features())).table
    assert sorted(table.impostor_people.tolist()) == [[0, 1], [0, 1], [0, 2], [0, 3], [1, 3]]


@pytest.mark.parametrize(
    ("genuine", "impostor", "rates", "tars"),
    [
        # Points (FAR, TAR): (0, 0), (0, 1/2), (1/2, 1/2), (1/2, 1), (1, 1).
        ([0.9, 0.7], [0.8, 0.6], [1e-6, 0.2, 0.25, 0.5, 0.8], [0.5, 0.5, 1, 1, 1]),
        # The points at FAR 1/4, 1/2 and 3/4 lie at equal steps and are dropped.
        ([0.9, 0.4], [0.8, 0.7, 0.6, 0.5], [0.3, 0.6], [0.5, 1]),
        # Equal scores are one point: (0, 0), (1/2, 1/2), (1, 1).
        ([0.9, 0.1], [0.9, 0.1], [1e-6, 0.4, 0.9], [0, 0.5, 1]),
        ([0.5], [0.5], [0.1, 0.9], [0, 1]),
        ([0.2], [0.9], [1e-6, 1], [0, 1]),
    ],
)
def test_the_references_tar_by_hand(genuine, impostor, rates, tars):
    scores = np.array([*impostor, *genuine])
    labels = np.repeat([False, True], [len(impostor), len(genuine)])
    assert reference_tar(scores, labels, rates).tolist() == tars


def naive_tar(scores, labels, rate):
    """The curve point by point, from the lowest threshold on, as the reference walks it."""
    points = [
        (sum(~labels & (scores >= threshold)), sum(labels & (scores >= threshold)))
        for threshold in sorted(set(scores), reverse=True)
    ]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
    kept = [
        point
        for i, point in enumerate(points)
        if i in (0, len(points) - 1) or steps[i - 1] != steps[i]
    ]
    best = None
    for impostor, genuine in reversed([(0, 0), *kept]):
        distance = abs(impostor / sum(~labels) - rate)
        if best is None or distance < best[0]:
            best = (distance, genuine / sum(labels))
    return best[1]


@pytest.mark.parametrize("seed", range(8))
def test_the_references_tar_is_that_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    labels = rng.random(300) < 0.1
    scores = np.round(rng.normal(labels * 2.0, 1), 1 if seed % 2 else 6)
    rates = [1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.5]
    expected = [naive_tar(scores, labels, rate) for rate in rates]
    np.testing.assert_allclose(reference_tar(scores, labels, rates), expected, rtol=1e-12)


@pytest.mark.parametrize("label", [True, False])
def test_pairs_of_one_kind_have_no_tar(label):
    with pytest.raises(ValueError, match="needs genuine and impostor"):
        reference_tar(np.zeros(3), np.full(3, label))


def test_search_by_hand(ijb):
    result = search(ijb, pool(ijb, ijb_sample.features()))
    first, second = result.galleries
    # Probes 4 and 6 are (0.6, 0.8), enrolled in gallery 1 as (1, 0) and (0, 1).
    assert (first.ranks.tolist(), second.ranks.tolist()) == ([2, 1], [1])
    np.testing.assert_allclose(first.non_mated, [0.8], atol=1e-6)
    np.testing.assert_allclose(second.non_mated, [0.96, 0.96], atol=1e-6)
    assert (result.found(1), result.found(2)) == (pytest.approx(2 / 3), 1)
    assert result.tpir(0.1) is None


def naive_search(gallery, probes, templates, rate):
    """One gallery as `ijb_evals.py` does it, and the TPIR by our rule, in loops."""
    pool_of = dict(zip(templates.ids, templates.embeddings, strict=True))
    ranks, own, hit, alarms = [], [], [], []
    for template, subject in probes:
        scores = {s: pool_of[template] @ pool_of[t] for t, s in gallery}
        if subject not in scores:
            alarms.append(max(scores.values()))
            continue
        own.append(scores.pop(subject))
        ranks.append(1 + sum(score > own[-1] for score in scores.values()))
        hit.append(own[-1] > max(scores.values()))
    alarms.sort(reverse=True)
    allowed = int(len(alarms) * rate)
    own, hit = np.array(own), np.array(hit)
    theirs = (hit & (own > alarms[max(allowed - 1, 0)])).mean()
    return ranks, theirs, (hit & (own > alarms[allowed])).mean()


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5])
def test_search_beside_the_reference(tmp_path, rate):
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(80, 6))
    images, members = [], []
    for template, subject in enumerate([*range(80), *rng.integers(80, size=300)]):
        members.append((template, subject))
        for medium in rng.integers(3, size=rng.integers(1, 5)):
            faces = rng.normal(centres[subject], 0.8, (2, 6))
            images.append((template, medium, rng.random(), *faces))
    lists = {"gallery1": members[:40], "gallery2": members[40:80], "probes": members[80:]}
    ijb = read_ijb(ijb_sample.write(tmp_path, "ijbb", images, **lists), "ijbb")
    templates = pool(ijb, ijb_sample.features(images, 50))
    result = search(ijb, templates)
    naive = [
        naive_search(gallery, ijb.probes, templates, rate)
        for gallery in (ijb.gallery1, ijb.gallery2)
    ]
    for found, (ranks, _, _) in zip(result.galleries, naive, strict=True):
        assert found.ranks.tolist() == ranks
    together = np.concatenate([ranks for ranks, _, _ in naive])
    for rank in (1, 5, 10):
        assert result.found(rank) == pytest.approx((together <= rank).mean())
    assert result.tpir(rate) == pytest.approx(np.mean([ours for _, _, ours in naive]))
    assert np.mean([theirs for _, theirs, _ in naive]) <= result.tpir(rate)


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        ("face_tid_mid.txt", 2, "2.jpg 4", "line 2: 2 fields, where such a list has 3"),
        ("face_tid_mid.txt", 3, "3.jpg two 72", "line 3: not the numbers"),
        ("face_tid_mid.txt", 3, f"3.jpg 2 {2**70}", "line 3: not the numbers"),
        ("face_tid_mid.txt", 5, "", "line 5: 0 fields"),
        ("name_5pts_score.txt", 4, "4.jpg 1 2 3", "line 4: 4 fields"),
        ("name_5pts_score.txt", 4, "5.jpg" + " 1" * 11, "line 4: .* another image than '5.jpg'"),
        ("name_5pts_score.txt", 4, "4.jpg nan" + " 1" * 10, "line 4: .*nan is not finite"),
        ("name_5pts_score.txt", 9, None, "line 9: the list ends before 9.jpg"),
        ("name_5pts_score.txt", 10, "10.jpg" + " 1" * 11, "line 10: .* another image"),
        ("template_pair_label.txt", 6, "2 4 2", "line 6: 2 is no label"),
        ("template_pair_label.txt", 6, "2 44 0", "line 6: 44 is a template without images"),
        ("1N_gallery_G1.csv", 1, "1,10", "line 1: numbers, where a header"),
        ("1N_gallery_G1.csv", 3, "2 30", "line 3: no commas"),
        ("1N_gallery_G2.csv", 2, "9,20,", "line 2: 9 is a template without images"),
        ("1N_probe_mixed.csv", 6, "4,11,a.jpg", "line 6: 4 is a template of two subjects"),
        ("1N_probe_mixed.csv", 3, "x,11,a.jpg", "line 3: not the numbers"),
    ],
)
def test_faults_name_list_and_line(tmp_path, name, line, text, message):
    path = ijb_sample.write(tmp_path) / "meta" / f"ijbc_{name}"
    lines = path.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(IntegrityError, match=f"{name}, {message}"):
        read_ijb(tmp_path, "ijbc")


@pytest.mark.parametrize("content", [None, "", "a folder"])
def test_lists_that_cannot_be_read_are_named(tmp_path, content):
    path = ijb_sample.write(tmp_path) / "meta" / "ijbc_template_pair_label.txt"
    path.unlink()
    if content == "":
        path.write_text("")
    elif content:
        path.mkdir()
    reason = {None: "cannot be read: No such file", "": "the list is empty"}
    reason["a folder"] = "cannot be read: a folder, not a file"
    with pytest.raises(IntegrityError, match=f"label.txt: {reason[content]}"):
        read_ijb(tmp_path, "ijbc")


def test_there_are_two_sets(tmp_path):
    with pytest.raises(ValueError, match="'ijba' is no set of IJB: use one of ijbb, ijbc"):
        read_ijb(tmp_path, "ijba")
