"""State, optimizers, metrics, steps; laying them over devices; checkpoints, records, the loop."""
