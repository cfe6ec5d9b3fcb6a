"""The method: losses, terms and projections, and the teacher's outputs, live or stored."""
