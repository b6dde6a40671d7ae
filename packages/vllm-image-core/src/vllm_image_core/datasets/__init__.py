"""Datasets: generate images by the million, in any process or on a cluster, into one folder or bucket."""
