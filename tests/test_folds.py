"""Folds: patients stay together, validation sets are disjoint, the draw is kept (S19)."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.dataset import Entry, folds_by_patient, keep_folds, marked_fold
from otovox.errors import ConfigError, InputError

#: Set A: 43 specimens.
SET_A = [Entry(f"a-{n:02d}", f"p-{n:02d}", labels="labels.nii.gz") for n in range(43)]


def test_the_papers_folds() -> None:
    folds = folds_by_patient(SET_A)
    assert [(len(f.train), len(f.validation)) for f in folds] == [(38, 5)] * 3
    assert len({case for fold in folds for case in fold.validation}) == 15
    assert folds == folds_by_patient(SET_A)
    assert folds != folds_by_patient(SET_A, seed=1)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 9), min_size=10, max_size=30),
    st.integers(1, 3),
    st.integers(1, 2),
)
def test_no_patient_is_on_both_sides(owners: list[int], count: int, validation: int) -> None:
    owners = [*range(10), *owners]
    entries = [Entry(f"c{n}", f"p{owner}", labels="x") for n, owner in enumerate(owners)]
    entries.append(Entry("tested", "p-test", labels="x", split="test"))
    entries.append(Entry("bare", "p-bare"))
    patient = {entry.case: entry.patient for entry in entries}
    for fold in folds_by_patient(entries, folds=count, validation=validation):
        assert len(fold.train) + len(fold.validation) == len(owners)
        train, validating = ({patient[c] for c in part} for part in (fold.train, fold.validation))
        assert not train & validating
        assert len(validating) == validation


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(InputError, match="8 patients"):
        folds_by_patient(SET_A[:8], folds=3, validation=3)
    with pytest.raises(InputError, match="too few"):
        folds_by_patient(SET_A[:3], folds=1, validation=3)


def test_the_data_sets_own_split_is_one_fold() -> None:
    entries = [
        Entry("a", "1", labels="x", split="train"),
        Entry("b", "2", labels="x", split="validation"),
        Entry("c", "3", labels="x", split="test"),
        Entry("d", "4", split="train"),
    ]
    fold = marked_fold(entries)
    assert (fold.train, fold.validation) == (("a",), ("b",))
    with pytest.raises(InputError, match="otovox dataset split"):
        marked_fold(entries[:1])


def test_other_folds_do_not_replace_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    keep_folds(path, folds_by_patient(SET_A), seed=0)
    keep_folds(path, folds_by_patient(SET_A), seed=0)
    with pytest.raises(ConfigError, match="other folds"):
        keep_folds(path, folds_by_patient(SET_A, seed=3), seed=3)
