"""AutoCasNet of Hussain et al. 2021."""
