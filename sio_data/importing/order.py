"""The order of an imported set: classes spread evenly, whatever the order of the source."""

import numpy as np

from sio_data.plan import Integers


def spread_evenly(labels: Integers, seed: int) -> Integers:
    """Put images in an order in which each class is spread evenly, so that any prefix is nearly balanced as the whole.

    The j-th of the n images of a class comes at the fraction (j + 1/2) / n of the set; which one of them it is, is
    random. A pure function of its arguments, in any version of NumPy: only raw numbers of PCG64 are used.

    Args:
        labels: int64 [N], from 0 on.
        seed: From 0 to 2**63 - 1.

    Returns:
        int64 [N]: places in `labels`.
    """
    by_class = np.lexsort((np.random.PCG64(seed).random_raw(len(labels)), labels))
    counts = np.bincount(labels)
    fractions = np.concatenate([(np.arange(count) + 0.5) / count for count in counts if count])
    return by_class[np.argsort(fractions, kind="stable")]
