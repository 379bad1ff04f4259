"""Studies: many runs that each change one thing, trained, scored and compared with one command."""
