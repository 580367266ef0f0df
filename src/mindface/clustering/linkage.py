"""Average linkage on a sparse graph: the groups of faces that are most alike are joined.

Two groups are as similar as the cosine of their sums, with the lengths of the sums not as they
are but as a person's should be: the mean of n unit vectors whose mean cosine is c has the length
sqrt((1 + (n - 1) c) / n). With c = 1 that is the mean cosine over all pairs of faces of the two
(UPGMA: Sokal, Michener, "A statistical method for evaluating systematic relationships", 1958);
a lower c asks less of large groups, in whose means the accidents of single photos cancel out.

All pairs of groups of which each is the other's most similar are joined at once, round by round
(Sumengen et al., "Scaling hierarchical agglomerative clustering to billion-sized datasets",
arXiv:2105.11653), so that the outcome depends on the graph alone, not on an order of visits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.clustering.neighbours import Pairs
from mindface.results import Array

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]

COHERENCE = 0.6  # c; best F at the threshold of a calibration: docs/benchmarks.md, Clustering
PENALTY = 0.2  # of two faces in one photo, in cosine
FLOOR = 0.8  # links are followed down to this share of the threshold, for they may strengthen
CHUNK = 1 << 13  # rows that are gathered at once: 16 MB of 512 values


@dataclass(eq=False)
class Groups:
    """Groups of faces, known by sums over their faces; changed in place as groups are joined.

    Attributes:
        sums: `(G, D)` float32, of embeddings times weights.
        weights: `(G,)` float64, of the weights.
        squares: `(G,)` float64, of the squared weights.
        sizes: `(G,)`, how many faces.
        kept: `(G,)`, groups of which no two are joined.
    """

    sums: Array
    weights: Doubles
    squares: Doubles
    sizes: Ints
    kept: Flags

    @classmethod
    def of(cls, embeddings: Array, weights: Doubles, group: Ints, kept: Flags) -> Groups:
        """Groups of faces.

        Args:
            embeddings: `(N, D)`.
            weights: `(N,)`.
            group: `(N,)`, the group of each, 0 to G - 1, none empty.
            kept: `(G,)`, see `Groups`.
        """
        order = np.argsort(group, kind="stable")
        sizes = np.bincount(group)
        starts = np.cumsum(sizes) - sizes
        weighted = embeddings[order]
        weighted *= weights[order, None].astype(np.float32)
        return cls(
            np.add.reduceat(weighted, starts) if len(sizes) < len(order) else weighted,
            np.bincount(group, weights).astype(np.float64),
            np.bincount(group, weights**2).astype(np.float64),
            sizes,
            kept,
        )

    def lengths(self, which: Ints) -> Doubles:
        """The lengths that the sums of groups should have."""
        return expected_length(self.weights[which], self.squares[which])

    def similarity(self, first: Ints, second: Ints) -> Array:
        """How similar groups are, pair by pair."""
        dots = inner_products(self.sums, first, self.sums, second)
        return np.asarray(dots / (self.lengths(first) * self.lengths(second)), np.float32)

    def join(self, into: Ints, gone: Ints) -> None:
        """Adds the groups `gone` to those of `into`, which are all different."""
        for start in range(0, len(into), CHUNK):
            rows = slice(start, start + CHUNK)
            self.sums[into[rows]] += self.sums[gone[rows]]
        for totals in (self.weights, self.squares, self.sizes):
            totals[into] += totals[gone]
        self.kept[into] |= self.kept[gone]


def expected_length(weights: Doubles, squares: Doubles) -> Doubles:
    """The length of a sum of weighted faces of one person; see the head of this file."""
    return np.asarray(np.sqrt((1 - COHERENCE) * squares + COHERENCE * weights**2))


def inner_products(a: Array, rows: Ints, b: Array, others: Ints) -> Array:
    """Of rows of `a` with rows of `b`, pair by pair, a few at a time."""
    found = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        found[part] = np.einsum("nd,nd->n", a[rows[part]], b[others[part]])
    return found


class Apart(NamedTuple):
    """What speaks against joining two groups.

    Attributes:
        lower: `(A,)`, one of the groups; each pair of groups stands here once.
        higher: `(A,)`, the other.
        counts: `(A,)` float64, how many pairs of their faces stand in one photo; inf: never join.
    """

    lower: Ints
    higher: Ints
    counts: Doubles

    @classmethod
    def of(cls, first: Ints, second: Ints, counts: Doubles, groups: int) -> Apart:
        """Adds up what is said of pairs in any order; pairs within a group are left out."""
        lower, higher = np.minimum(first, second), np.maximum(first, second)
        other = lower < higher
        codes, numbers = np.unique(lower[other] * groups + higher[other], return_inverse=True)
        totals = np.bincount(numbers, counts[other], len(codes)).astype(np.float64)
        return cls(*np.divmod(codes, groups), totals)

    def penalty(self, lower: Ints, higher: Ints, sizes: Ints) -> Doubles:
        """How much less similar pairs of groups are.

        By `PENALTY` where each face of the smaller group stands in one photo with a face of the
        larger one, else in proportion.
        """
        found = np.zeros(len(lower))
        if len(self.counts):
            codes, groups = self.lower * len(sizes) + self.higher, len(sizes)
            wanted = lower * groups + higher
            at = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
            hit = np.flatnonzero(codes[at] == wanted)
            smaller = np.minimum(sizes[lower[hit]], sizes[higher[hit]])
            found[hit] = PENALTY * self.counts[at[hit]] / smaller
        return found

    def renamed(self, names: Ints) -> Apart:
        """The same of groups that were joined."""
        if not len(self.counts):
            return self
        return Apart.of(names[self.lower], names[self.higher], self.counts, len(names))


class Joins(NamedTuple):
    """What was joined, in its order.

    Attributes:
        link: `(J,)`, the pair of faces that linked the two groups: the most alike of them.
        similarity: `(J,)` of the two groups.
    """

    link: Ints
    similarity: Array


class _Edges(NamedTuple):
    """Links between groups, the most alike pair of faces first.

    `stale` are those of which a group has just grown: their similarity must be found anew.
    """

    lower: Ints
    higher: Ints
    link: Ints
    similarity: Array
    stale: Flags

    def select(self, which: Flags | Ints) -> _Edges:
        return _Edges(
            self.lower[which],
            self.higher[which],
            self.link[which],
            self.similarity[which],
            self.stale[which],
        )

    def renamed(self, names: Ints) -> _Edges:
        """Links of groups that were joined: of each pair of groups that of the most alike faces."""
        grown = np.zeros(len(names), bool)
        gone = np.flatnonzero(names != np.arange(len(names)))
        grown[names[gone]] = True
        a, b = names[self.lower], names[self.higher]
        lower, higher, stale = np.minimum(a, b), np.maximum(a, b), grown[a] | grown[b]
        moved = np.flatnonzero(stale & (lower < higher))
        _, first = np.unique(lower[moved] * len(names) + higher[moved], return_index=True)
        kept = ~stale
        kept[moved[first]] = True
        return _Edges(lower, higher, self.link, self.similarity, stale).select(kept)

    def mutual(self, threshold: float, groups: int) -> Ints:
        """Links of groups that are each other's most similar; of equal ones the first."""
        best = np.full(groups, threshold, np.float32)
        first = np.full(groups, len(self.link))
        for side in (self.lower, self.higher):
            np.maximum.at(best, side, self.similarity)
        tops = np.flatnonzero(self.similarity >= np.maximum(best[self.lower], best[self.higher]))
        for side in (self.lower, self.higher):
            np.minimum.at(first, side[tops], tops)
        chosen = (first[self.lower[tops]] == tops) & (first[self.higher[tops]] == tops)
        return np.asarray(tops[chosen])


def agglomerate(
    groups: Groups, group: Ints, pairs: Pairs, apart: Apart, threshold: float
) -> tuple[Ints, Joins]:
    """Joins groups as long as two are similar enough.

    Args:
        groups: what to begin with; changed.
        group: `(N,)`, the group of each face.
        pairs: the graph of faces.
        apart: what speaks against joining.
        threshold: least similarity of groups that are joined.

    Returns:
        For each group the group it ended in, `(G,)`, and what was joined.
    """
    count = len(groups.sizes)
    names = np.arange(count)
    edges = _linked(group[pairs.first], group[pairs.second], pairs.similarity, count)
    done = [Joins(np.zeros(0, np.int64), np.zeros(0, np.float32))]
    while len(edges.link):
        edges = _measured(edges, groups, pairs.similarity, apart, threshold * FLOOR)
        chosen = edges.select(edges.mutual(threshold, count))
        if not len(chosen.link):
            break
        groups.join(chosen.lower, chosen.higher)
        done.append(Joins(chosen.link, chosen.similarity))
        step = np.arange(count)
        step[chosen.higher] = chosen.lower
        names, apart, edges = step[names], apart.renamed(step), edges.renamed(step)
    return names, Joins(*(np.concatenate(columns) for columns in zip(*done, strict=True)))


def _linked(first: Ints, second: Ints, similarity: Array, count: int) -> _Edges:
    lower, higher = np.minimum(first, second), np.maximum(first, second)
    _, kept = np.unique(lower * count + higher, return_index=True)
    kept = np.sort(kept[lower[kept] < higher[kept]])
    return _Edges(lower[kept], higher[kept], kept, similarity[kept], np.ones(len(kept), bool))


def _measured(
    edges: _Edges, groups: Groups, between_faces: Array, apart: Apart, least: float
) -> _Edges:
    """Finds the similarity of stale links; drops those that are below `least` or forbidden."""
    stale = np.flatnonzero(edges.stale)
    lower, higher, link = edges.lower[stale], edges.higher[stale], edges.link[stale]
    similarity = between_faces[link]
    several = np.flatnonzero((groups.sizes[lower] > 1) | (groups.sizes[higher] > 1))
    similarity[several] = groups.similarity(lower[several], higher[several])
    edges.similarity[stale] = similarity - apart.penalty(lower, higher, groups.sizes)
    kept = edges.similarity >= least
    kept[stale] &= ~(groups.kept[lower] & groups.kept[higher])
    return edges.select(kept)
