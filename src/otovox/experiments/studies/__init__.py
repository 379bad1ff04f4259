"""Studies: many runs that each change one thing, trained, scored and compared by one command."""

from otovox.experiments.studies.plans import (
    KINDS,
    Run,
    Study,
    load_scale,
    load_study,
    settings_of,
    study_names,
)

__all__ = ["KINDS", "Run", "Study", "load_scale", "load_study", "settings_of", "study_names"]
