"""The shared data types: anatomy, geometry, volumes, landmarks, cases."""
