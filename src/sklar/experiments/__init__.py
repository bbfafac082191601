"""Experiments: which runs a comparison needs, and how to make them."""
