"""`python -m otovox` is the command `otovox`."""

from otovox.cli.app import main

main()
