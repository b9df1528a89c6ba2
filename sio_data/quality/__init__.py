"""How good a synthetic set is: distances to real images, near-copies, duplicates, labels, what one learns from it.

`measurement` has `measure`. What judges single images serves a filter, too: `set_batches` reads a set, `predict` gives
a classifier's probabilities, `FeatureSearch` and `HashSearch` find the nearest real image, `pixel_digests` what
repeats.
"""
