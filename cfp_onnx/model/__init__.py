"""The only reader of `.onnx`: one canonical form, weights on demand."""
