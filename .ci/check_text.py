"""Text files are UTF-8 here, on every system: name what opens one without saying so.

`check_text.py [NOTEBOOK ...]` looks through code cells (default: all of nbs/) and the scripts of
.ci/, and ends with 1 if it finds something.
"""

import ast
import json
import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent


def opens_text(call: ast.Call) -> bool:
    "Does a call open a text file in the system's own encoding?"
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {k.arg for k in call.keywords} | (
        {"encoding"} if None in [k.arg for k in call.keywords] else set()
    )
    if "encoding" in given or "os.devnull" in ast.unparse(call):
        return False
    if name == "read_text":
        return not call.args
    if name == "write_text":
        return len(call.args) < 2
    if name == "open" and isinstance(call.func, ast.Attribute):
        module = getattr(call.func.value, "id", "")
        if module in ("Image", "wave", "os", "zipfile", "tarfile", "webbrowser", "urllib"):
            return False
        modes = call.args[:1] if module not in ("io", "gzip", "lzma", "bz2") else call.args[1:2]
        return is_text(modes, call) and module not in ("gzip", "lzma", "bz2")
    if name == "open":
        return is_text(call.args[1:2], call)
    return False


def is_text(modes, call):
    modes = [*modes, *(k.value for k in call.keywords if k.arg == "mode")]
    return "b" not in (getattr(modes[0], "value", "b") if modes else "r")


def python(source):
    "A cell as plain Python: magics and directives become empty lines."
    return re.sub(r"^\s*[%!].*", "pass", source, flags=re.M) if source[:2] != "%%" else ""


def find(name, source):
    try:
        tree = ast.parse(python(source))
    except SyntaxError:
        return
    for n in ast.walk(tree):
        if isinstance(n, ast.Call) and opens_text(n):
            yield f"{name}: {ast.unparse(n)[:100]}"


def main(paths):
    found = []
    for p in paths or sorted((root / "nbs").rglob("*.ipynb")):
        for c in json.loads(Path(p).read_text(encoding="utf-8"))["cells"]:
            if c["cell_type"] == "code":
                found += find(f"{Path(p).name} {c['id']}", "".join(c["source"]))
    for p in [] if paths else [*sorted((root / ".ci").glob("*.py")), root / "setup.py"]:
        found += find(p.name, p.read_text(encoding="utf-8"))
    if found:
        print(*found, sep="\n")
        sys.exit(f"{len(found)} text files are opened without encoding='utf-8'")


if __name__ == "__main__":
    main(sys.argv[1:])
