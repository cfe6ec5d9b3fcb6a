"""The embedded text: documentation of installed packages, without a hub and without a network."""
