"""The papers' formulas in plain float64, sample by sample and class by class.

Each takes cosines as rows of floats and labels with -1 for a class that has no column, and returns
logits as rows of floats.
"""

import math


def rows(cosines, labels, own, other):
    """Logits: `own(i, theta)` for a sample's class, `other(i, cosine)` elsewhere."""
    return [
        [
            own(i, math.acos(cosine)) if labels[i] == j else other(i, cosine)
            for j, cosine in enumerate(row)
        ]
        for i, row in enumerate(cosines)
    ]


def added(theta, m):
    """cos(theta + m), past pi as InsightFace's `losses.py` has it."""
    if theta + m > math.pi:
        return math.cos(theta) - m * math.sin(m)
    return math.cos(theta + m)


def softmax(cosines, labels, norms, s=64.0):
    return [[s * cosine for cosine in row] for row in cosines]


def arcface(cosines, labels, norms, s=64.0, m=0.5):
    return rows(cosines, labels, lambda i, theta: s * added(theta, m), lambda i, c: s * c)


def cosface(cosines, labels, norms, s=64.0, m=0.35):
    return rows(cosines, labels, lambda i, theta: s * (math.cos(theta) - m), lambda i, c: s * c)


def combined(cosines, labels, norms, s=64.0, m1=1.0, m2=0.3, m3=0.2):
    def own(i, theta):
        wider = m1 * theta + m2
        if wider <= math.pi:
            return s * (math.cos(wider) - m3)
        d = math.pi - (math.pi - m2) / m1  # wider than theta by this where wider is pi
        return s * (math.cos(theta) - max(d * math.sin(d), 1 - math.cos(d)) - m3)

    return rows(cosines, labels, own, lambda i, c: s * c)


def sphereface(cosines, labels, norms, s=30.0, m=1.5):
    def own(i, theta):
        k = math.floor(m * theta / math.pi)
        return s * ((-1) ** k * math.cos(m * theta) - 2 * k)

    return rows(cosines, labels, own, lambda i, c: s * c)


def sphereface_revived(cosines, labels, norms, s=30.0, m=1.5):
    def own(i, theta):
        return s * math.cos(min(m, math.pi / theta) * theta)

    return rows(cosines, labels, own, lambda i, c: s * c)


def curricularface_t(cosines, labels, t=0.0, alpha=0.99):
    own = [row[label] for row, label in zip(cosines, labels, strict=True) if label >= 0]
    return alpha * t + (1 - alpha) * sum(own) / len(own)


def curricularface(cosines, labels, norms, s=64.0, m=0.5, t=0.0):
    def other(i, cosine):
        if labels[i] < 0:
            return s * cosine
        if added(math.acos(cosines[i][labels[i]]), m) - cosine >= 0:
            return s * cosine
        return s * cosine * (t + cosine)

    return rows(cosines, labels, lambda i, theta: s * added(theta, m), other)


def adaface_statistics(norms, mean=20.0, std=100.0, alpha=0.01):
    cut = [min(max(norm, 0.001), 100.0) for norm in norms]
    batch_mean = sum(cut) / len(cut)
    batch_std = math.sqrt(sum((norm - batch_mean) ** 2 for norm in cut) / (len(cut) - 1))
    return alpha * batch_mean + (1 - alpha) * mean, alpha * batch_std + (1 - alpha) * std


def adaface(cosines, labels, norms, s=64.0, m=0.4, h=0.333):
    mean, std = adaface_statistics(norms)

    def own(i, theta):
        norm = min(max(norms[i], 0.001), 100.0)
        z = min(max((norm - mean) / (std + 0.001) * h, -1.0), 1.0)
        g_angle, g_add = -m * z, m * z + m
        angle = min(max(theta + g_angle, 0.001), math.pi - 0.001)
        return s * (math.cos(angle) - g_add)

    return rows(cosines, labels, own, lambda i, c: s * c)


def magface(cosines, labels, norms, s=64.0, l_a=10.0, u_a=110.0, l_m=0.45, u_m=0.8):
    def own(i, theta):
        a = min(max(norms[i], l_a), u_a)
        return s * added(theta, (u_m - l_m) / (u_a - l_a) * (a - l_a) + l_m)

    return rows(cosines, labels, own, lambda i, c: s * c)


def magface_penalty(norms, l_a=10.0, u_a=110.0, lambda_g=35.0):
    cut = [min(max(norm, l_a), u_a) for norm in norms]
    return lambda_g * sum(a / u_a**2 + 1 / a for a in cut) / len(cut)


def elastic_arcface(cosines, labels, norms, margins, s=64.0):
    return rows(cosines, labels, lambda i, theta: s * added(theta, margins[i]), lambda i, c: s * c)


def elastic_cosface(cosines, labels, norms, margins, s=64.0):
    return rows(
        cosines, labels, lambda i, theta: s * (math.cos(theta) - margins[i]), lambda i, c: s * c
    )


def uniface(cosines, labels, norms, b, s=64.0, m=0.4):
    return rows(
        cosines, labels, lambda i, theta: s * (math.cos(theta) - m) - b, lambda i, c: s * c - b
    )


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def unified_cross_entropy(logits, labels):
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        total += sum(softplus(-x if j == label else x) for j, x in enumerate(row))
    return total / len(logits)


def cross_entropy(logits, labels):
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        top = max(row)
        total += top + math.log(sum(math.exp(x - top) for x in row)) - row[label]
    return total / len(logits)


def length(vector):
    return math.sqrt(sum(x * x for x in vector))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / length(a) / length(b)


def cosines_of(embeddings, centers, sub_centers=1):
    """Cosines with each class's nearest sub-centre."""
    return [
        [
            max(cosine(embedding, centers[c + k]) for k in range(sub_centers))
            for c in range(0, len(centers), sub_centers)
        ]
        for embedding in embeddings
    ]


def huber(x):
    return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5


def relational_distance(student, teacher):
    def normalised(points):
        pairs = [(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j]
        far = [length([x - y for x, y in zip(a, b, strict=True)]) for a, b in pairs]
        return [each / (sum(far) / len(far)) for each in far]

    both = list(zip(normalised(student), normalised(teacher), strict=True))
    return sum(huber(t - s) for s, t in both) / len(both)


def relational_angle(student, teacher):
    def angles(points):
        n = range(len(points))
        return [
            cosine(
                [x - y for x, y in zip(points[i], points[j], strict=True)],
                [x - y for x, y in zip(points[k], points[j], strict=True)],
            )
            for i in n
            for j in n
            for k in n
            if len({i, j, k}) == 3
        ]

    both = list(zip(angles(student), angles(teacher), strict=True))
    return sum(huber(t - s) for s, t in both) / len(both)
