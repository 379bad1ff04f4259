"""A hook of the docs' build: the reference of the command line, from the commands themselves."""

import typer.cli
import typer.main

from otovox.cli.app import app

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page with the commands in place of the mark."""
    if MARK not in markdown:
        return markdown
    command = typer.main.get_command(app)
    context = command.make_context("otovox", ["--help"], resilient_parsing=True)
    text = typer.cli.get_docs_for_click(obj=command, ctx=context, name="otovox")
    # The page has its own first heading.
    return markdown.replace(MARK, text.replace("\n# ", "\n## ").removeprefix("# `otovox`"))
