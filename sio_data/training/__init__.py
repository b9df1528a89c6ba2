"""`train`: classifiers on real images, with or without synthetic ones, by any training method."""
