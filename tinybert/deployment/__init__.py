"""A student for use without PyTorch: ONNX, int8, the gate it passes, and a service around it."""
