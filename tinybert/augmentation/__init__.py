"""Algorithm 1: words replaced by likely ones, and which copies are kept."""
