"""The least that a system is: grey values above a learned threshold are labyrinth."""
