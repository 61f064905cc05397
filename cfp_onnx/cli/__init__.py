"""The command ``cfp-onnx``: `cfp_onnx.cli.main` is where it starts, one module of `commands` is a command."""
