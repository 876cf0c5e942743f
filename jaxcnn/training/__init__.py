"""State, optimizers, metrics and steps; laying them over devices; checkpoints, records, the loop."""
