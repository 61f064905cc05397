"""The result of an explanation: its values, tubes, text, drawings and files."""
