"""What is looked at on every process of a run before the run."""
