"""`python -m otovox` is the command `otovox`."""

from otovox.cli import main

main()
