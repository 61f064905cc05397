"""Class names from files."""

from __future__ import annotations

import pytest

from cfp_onnx.errors import UsageError
from cfp_onnx.explanation.labels import read_labels


def test_labels_of_another_form_get_a_sentence(tmp_path):
    (tmp_path / "latin.txt").write_bytes("caf\u00e9\nbar\n".encode("latin-1"))
    (tmp_path / "table.json").write_text('{"cafe": 0, "bar": 1}', "utf-8")
    with pytest.raises(UsageError, match="save it as text in UTF-8"):
        read_labels(tmp_path / "latin.txt")
    with pytest.raises(UsageError, match="is not a JSON list of strings"):
        read_labels(tmp_path / "table.json")
