"""A model by its name or its folder."""

import os
import shutil
from pathlib import Path

import pytest

from monitor.errors import ModelError
from monitor.models.registry import SHIPPED_DIR, resolve_model_path


def test_a_shipped_model_is_found_by_name_and_by_folder(tmp_path: Path):
    assert resolve_model_path("dagm-class1") == SHIPPED_DIR / "dagm-class1"
    shutil.copytree(SHIPPED_DIR / "dagm-class1", tmp_path / "line ü")
    assert resolve_model_path(str(tmp_path / "line ü")) == tmp_path / "line ü"


def test_a_folder_whose_name_is_not_utf_8_is_refused_in_one_sentence(tmp_path: Path):
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/m\xff"))
    folder.mkdir()
    with pytest.raises(ModelError, match="has a name that is not UTF-8") as caught:
        resolve_model_path(str(folder))
    str(caught.value).encode()
