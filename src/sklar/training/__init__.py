"""Training: configuration, the one Lightning adapter, and the reference models."""
