"""Studies: many runs that each change one thing, trained, scored and compared by one command."""
