"""Everything that can be set, frozen; presets."""
