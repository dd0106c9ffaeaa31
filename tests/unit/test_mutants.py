"""The mutants fit the code: each safeguard that they take out is where they say."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from mutation.mutants import MUTANTS, ROOT, Mutant, mutate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_safeguard_stands_where_its_mutant_says(mutant: Mutant, tmp_path: Path) -> None:
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / mutant.file, copy)

    mutate(mutant, tmp_path)

    assert copy.read_text() != (ROOT / mutant.file).read_text()
    path, _, test = mutant.test.partition("::")
    test, _, _ = test.partition("[")
    assert f"def {test}(" in (ROOT / path).read_text()
