"""From files to uint8 batches: the batch of a step is a function of (seed, step)."""
