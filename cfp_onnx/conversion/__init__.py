"""From a framework's file to an ONNX file that was checked against the framework."""
