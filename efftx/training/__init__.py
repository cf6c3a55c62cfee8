"""Training: losses, corpora, batches, the loop and its checkpoints."""
