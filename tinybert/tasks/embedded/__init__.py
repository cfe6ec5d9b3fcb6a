"""The embedded tasks: what the demo learns, made of the embedded text."""
