"""The order of an imported set: classes spread evenly, whatever the order of the source."""

import numpy as np

from sio_data.importing.archive import Places


def spread_evenly(labels: Places, seed: int) -> Places:
    """Put images in an order in which each class is spread evenly, so that any prefix is nearly balanced as the whole.

    The j-th of the n images of a class comes at the fraction (j + 1/2) / n of the set; which one of them it is, is
    random. A pure function of its arguments, in any version of NumPy: only raw numbers of PCG64 are used.

    Args:
        labels: int32 [N], from 0 on.
        seed: From 0 to 2**63 - 1.

    Returns:
        int32 [N]: places in `labels`.
    """
    by_class = np.lexsort((np.random.PCG64(seed).random_raw(len(labels)), labels)).astype(np.int32)
    fractions = np.empty(len(labels))
    start = 0
    for count in np.bincount(labels).tolist():
        fractions[start : start + count] = (np.arange(count) + 0.5) / max(1, count)
        start += count
    return by_class[np.argsort(fractions, kind="stable")]
