"""Clinical notes of MIMIC-III: which belong to a stay, and what of them is text."""
