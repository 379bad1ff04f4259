"""Scans, label maps, landmarks, curves and meshes, in and out."""
