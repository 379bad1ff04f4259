"""What everything speaks of: anatomy, geometry, volumes, landmarks, cases."""
