"""A student in use: ONNX, int8 and the gate, how fast it is in what, which shape, and a service."""
