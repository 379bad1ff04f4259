"""What networks learn, from what, and how they are kept."""
