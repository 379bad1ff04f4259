"""Frozen settings, and presets."""
