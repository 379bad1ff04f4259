"""The synthetic temporal bone: shape -> tissue -> scanner -> Case."""
