"""JSDNet of Zhang et al. 2020."""
