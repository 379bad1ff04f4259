"""Data sets on disk: layout, checks, and importers of published releases."""

from otovox.dataset.checks import Finding, check_dataset
from otovox.dataset.folds import Fold, folds_by_patient, keep_folds, marked_fold
from otovox.dataset.importers import Imported, import_release, recipe_names
from otovox.dataset.layout import (
    Entry,
    add_case,
    load_case,
    read_index,
    read_info,
    split_by_patient,
    start_dataset,
    write_case,
    write_index,
)

__all__ = [
    "Entry",
    "Finding",
    "Fold",
    "Imported",
    "add_case",
    "check_dataset",
    "folds_by_patient",
    "import_release",
    "keep_folds",
    "load_case",
    "marked_fold",
    "read_index",
    "read_info",
    "recipe_names",
    "split_by_patient",
    "start_dataset",
    "write_case",
    "write_index",
]
