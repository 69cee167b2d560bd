"""odsF, from boundary maps to the number: suppression, thinning, matching, counting, summary.

NumPy arrays of one image go in. A line, and the same line one pixel lower in the prediction:

>>> import numpy as np
>>> from sakbench.metrics import boundary
>>> truths = np.zeros((1, 40, 30), dtype=bool)  # annotators, height, width
>>> truths[0, 20, 5:25] = True
>>> prediction = np.zeros((40, 30), dtype=np.uint8)
>>> prediction[21, 5:25] = 255
>>> counted = boundary.counts(prediction, truths, max_dist=0.021)  # of the diagonal: 1.05 pixels
>>> boundary.summarize(np.stack(counted, axis=-1)[None]).ods
1.0

`nms` comes before `counts` where the protocol has it; a batch of probabilities has `OdsF`, folders of saved maps have
`sakbench score boundary`.
"""

from sakbench.metrics.boundary.counting import MODES, THRESHOLDS, Mode, check_settings, counts, match_count
from sakbench.metrics.boundary.metric import OdsF, describe
from sakbench.metrics.boundary.summary import Summary, f_measure, precision_recall, summarize
from sakbench.metrics.boundary.suppression import nms
from sakbench.metrics.boundary.thinning import thin
from sakbench.metrics.boundary.truth import label_edges

__all__ = [
    "MODES",
    "THRESHOLDS",
    "Mode",
    "OdsF",
    "Summary",
    "check_settings",
    "counts",
    "describe",
    "f_measure",
    "label_edges",
    "match_count",
    "nms",
    "precision_recall",
    "summarize",
    "thin",
]
