"""One name, one thing: a public class or function has a name of its own in the whole package."""

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "otovox"
#: What every system's folder defines under the same name: it fills the interface.
INTERFACE = {"open_model", "settings_of", "tasks", "train"}


def test_public_names_are_unique() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in SOURCE.rglob("*.py"):
        room, name = path.relative_to(SOURCE).parts[0], path.relative_to(SOURCE).as_posix()
        if room == "cli":  # its functions carry the names of the commands
            continue
        for node in ast.parse(path.read_text("utf-8")).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            if room != "systems" or node.name not in INTERFACE:
                places[node.name].append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
