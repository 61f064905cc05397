"""Every failure a user can meet, as one short tree.

The command line turns an error into one line on stderr and its ``exit_code``:
2 for unusable input, 3 for a missing device or runtime, 4 for a limit that was reached.
"""

from __future__ import annotations


class CfpError(Exception):
    """Root of all errors raised on purpose; its text says what, where and what to do next."""

    exit_code = 2


class UsageError(CfpError):
    """An option or argument that contradicts itself or the model."""


class ModelError(CfpError):
    """The model file cannot be read, or what it holds cannot be analysed."""


class UnsupportedOperatorError(ModelError):
    """An operator on a channel path has no handler.

    Attributes:
        operator: Operator type, with its domain in front where it is not ONNX's own.
        node: Name of the node.
    """

    def __init__(self, message: str, *, operator: str, node: str) -> None:
        super().__init__(message)
        self.operator = operator
        self.node = node


class ClipError(CfpError):
    """The clip cannot be read, or does not fit the model's input."""


class TargetError(CfpError):
    """The class, label or output asked for does not exist."""


class RunError(CfpError):
    """The runtime refused or failed the model on this clip, or its outputs are not numbers."""


class OutputError(CfpError):
    """A result cannot be written where it was asked for."""


class DeviceError(CfpError):
    """The runtime or the device asked for is not there."""

    exit_code = 3


class LimitError(CfpError):
    """A limit of time, memory or size was reached."""

    exit_code = 4
