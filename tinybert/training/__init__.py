"""Training a phase: its run and checkpoints, its loop, and the best of a grid on dev."""
