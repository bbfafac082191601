"""Data: schemas, own tables to prepared folders, prepared folders to batches. It knows no model."""
