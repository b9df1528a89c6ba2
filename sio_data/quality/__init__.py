"""How good a synthetic set is: distances to real images, near-copies, duplicates, labels, what one learns from it.

`measurement` has `measure`; the other modules hold one kind of measure each. What a filter needs is in `scan` (one pass
over a set gives, image by image, a classifier's prediction and the nearest real image).
"""
