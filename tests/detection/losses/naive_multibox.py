"""The papers' formulas in plain float64: anchor by anchor, face by face.

Boxes are xyxy, anchors centre x, centre y, width, height; all are rows of floats.
"""

import math


def corners(anchor):
    x, y, w, h = anchor
    return (x - w / 2, y - h / 2, x + w / 2, y + h / 2)


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def shared(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(w, 0.0) * max(h, 0.0)


def iou(a, b):
    both = shared(a, b)
    return both / (area(a) + area(b) - both)


def best_box(row):
    """The first of the boxes that overlap an anchor most."""
    return max(range(len(row)), key=lambda j: row[j])


def match(boxes, ignored, anchors, threshold=0.35):
    """Each anchor's class and box: Pytorch_Retinaface's `match`, with boxes that are ignored."""
    overlaps = [[iou(corners(anchor), box) for box in boxes] for anchor in anchors]
    owners = []
    for row in overlaps:
        best = best_box(row) if row else -1
        owners.append(best if row and row[best] >= threshold else -1)
    for j in range(len(boxes)):
        fitting = max(range(len(anchors)), key=lambda a: overlaps[a][j])
        if not ignored[j] and overlaps[fitting][j] >= 0.2:
            owners[fitting] = j
    return settle(boxes, ignored, anchors, owners)


def atss(boxes, ignored, anchors, nearest=9):
    """Algorithm 1 of ATSS; the anchors of one side are a level."""
    asked = [[] for _ in anchors]
    for j, box in enumerate(boxes):
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        candidates = []
        for side in sorted({anchor[2] for anchor in anchors}):
            level = [a for a, anchor in enumerate(anchors) if anchor[2] == side]
            level.sort(key=lambda a: math.dist((x, y), anchors[a][:2]))
            candidates += level[:nearest]
        values = [iou(corners(anchors[a]), box) for a in candidates]
        mean = sum(values) / len(values)
        std = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
        for a, value in zip(candidates, values, strict=True):
            cx, cy = anchors[a][:2]
            if value >= mean + std and box[0] < cx < box[2] and box[1] < cy < box[3]:
                asked[a].append((value, -j))
    return settle(boxes, ignored, anchors, [-max(each)[1] if each else -1 for each in asked])


def settle(boxes, ignored, anchors, owners):
    classes = [0 if j < 0 else -1 if ignored[j] else 1 for j in owners]
    least = min(anchor[2] for anchor in anchors) ** 2
    for j, box in enumerate(boxes):
        for a, anchor in enumerate(anchors):
            common, own = shared(corners(anchor), box), area(corners(anchor))
            near = own <= 2 * max(area(box), least)
            if ignored[j] and classes[a] == 0 and near and common >= min(own, area(box)) / 2:
                classes[a] = -1
    return classes, owners


def encode_box(box, anchor):
    x, y, w, h = anchor
    return (
        ((box[0] + box[2]) / 2 - x) / (0.1 * w),
        ((box[1] + box[3]) / 2 - y) / (0.1 * h),
        math.log((box[2] - box[0]) / w) / 0.2,
        math.log((box[3] - box[1]) / h) / 0.2,
    )


def decode_box(encoded, anchor):
    x, y, w, h = anchor
    a, b, c, d = encoded
    return corners((x + 0.1 * a * w, y + 0.1 * b * h, w * math.exp(0.2 * c), h * math.exp(0.2 * d)))


def encode_points(points, anchor):
    x, y, w, h = anchor
    return [value for px, py in points for value in ((px - x) / (0.1 * w), (py - y) / (0.1 * h))]


def smooth_l1(found, truth):
    apart = [abs(a - b) for a, b in zip(found, truth, strict=True)]
    return sum(d * d / 2 if d < 1 else d - 0.5 for d in apart)


def diou(box, truth):
    centre = [(box[i] + box[i + 2] - truth[i] - truth[i + 2]) / 2 for i in (0, 1)]
    around = [max(box[i + 2], truth[i + 2]) - min(box[i], truth[i]) for i in (0, 1)]
    return 1 - iou(box, truth) + sum(d * d for d in centre) / sum(d * d for d in around)


def cross_entropy(scores, label):
    return math.log(math.exp(scores[0]) + math.exp(scores[1])) - scores[label]


def focal(scores, label, alpha=0.25, gamma=2.0):
    p = math.exp(scores[1]) / (math.exp(scores[0]) + math.exp(scores[1]))
    if label:
        return -alpha * (1 - p) ** gamma * math.log(p)
    return -(1 - alpha) * p**gamma * math.log(1 - p)


def multibox(outputs, boxes, landmarks, anchors, matches, classification, regression, negatives=7):
    """The three parts; `matches` are each picture's classes and owners."""
    box_loss = class_loss = landmark_loss = 0.0
    positives = marked = 0
    for i, (classes, owners) in enumerate(matches):
        encoded, scores, points = (output[i] for output in outputs)
        faces = [a for a, label in enumerate(classes) if label == 1]
        for a in faces:
            positives += 1
            truth = boxes[i][owners[a]]
            if regression == "diou":
                box_loss += diou(decode_box(encoded[a], anchors[a]), truth)
            else:
                box_loss += smooth_l1(encoded[a], encode_box(truth, anchors[a]))
            shape = landmarks[i][owners[a]]
            if not math.isnan(shape[0][0]):
                marked += 1
                landmark_loss += smooth_l1(points[a], encode_points(shape, anchors[a]))
        background = [a for a, label in enumerate(classes) if label == 0]
        if classification == "focal":
            class_loss += sum(focal(scores[a], 1) for a in faces)
            class_loss += sum(focal(scores[a], 0) for a in background)
        else:
            hard = sorted((cross_entropy(scores[a], 0) for a in background), reverse=True)
            class_loss += sum(hard[: negatives * max(len(faces), 1)])
            class_loss += sum(cross_entropy(scores[a], 1) for a in faces)
    return {
        "boxes": 2 * box_loss / max(positives, 1),
        "classes": class_loss / max(positives, 1),
        "landmarks": landmark_loss / max(marked, 1),
    }
