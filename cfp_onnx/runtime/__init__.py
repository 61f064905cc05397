"""Sessions and runs: the only user of onnxruntime."""
