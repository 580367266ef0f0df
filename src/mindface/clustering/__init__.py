"""Unknown faces into people.

`cluster` sorts all faces at once, `assign` new ones among old people. Below them: `neighbours`
(the graph), `linkage` (who is joined), `constraints` (what is known before), `confidence`;
`strictness` turns a model's calibration into the threshold.
"""

from mindface.clustering.cluster import assign, cluster
from mindface.clustering.clusters import Clusters
from mindface.clustering.strictness import Strictness, strictness

__all__ = ["Clusters", "Strictness", "assign", "cluster", "strictness"]
