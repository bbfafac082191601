"""Chest radiographs and their reports: which belong to a stay, as pixels and as text."""
