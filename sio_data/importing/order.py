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
    by_class = np.argsort(labels, kind="stable").astype(np.int32)
    keys = np.empty(len(labels), np.uint64)  # fractions in 32 bits, then where the image is in by_class
    random = np.random.PCG64(seed)
    start = 0
    for count in np.bincount(labels).tolist():
        here = slice(start, start + count)
        by_class[here] = by_class[here][np.argsort(random.random_raw(count), kind="stable")]
        fractions = ((2 * np.arange(count, dtype=np.uint64) + 1) << 32) // max(1, 2 * count)
        keys[here] = (fractions << 32) | np.arange(start, start + count, dtype=np.uint64)
        start += count
    keys.sort()
    keys &= 2**32 - 1
    return by_class[keys.view(np.int64)]
