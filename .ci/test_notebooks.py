"""Each notebook of nbs/ is one pytest case, and so are each example of the README and each module.

A notebook runs as nbdev_test runs it, in a fresh process: directives and test flags hold.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

root = Path(__file__).resolve().parent.parent


# ---- notebooks


def is_hidden(path: Path) -> bool:
    "Is a notebook, or a folder on the way to it, no part of the project (`.name` and `_name`)?"
    return any(part[0] in "._" for part in path.relative_to(root / "nbs").parts)


def notebook_name(path: Path) -> str:
    return path.relative_to(root / "nbs").as_posix()


# A job in the background hears no Ctrl-C; the tests need it
RUN = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from nbdev.config import get_config
from nbdev.test import test_nb
c = get_config()
skip, force = c.tst_flags.split(), sys.argv[2].split()
ok, _ = test_nb(Path(sys.argv[1]), skip_flags=skip, force_flags=force, basepath=c.config_path)
sys.exit(not ok)
"""
NOTEBOOKS = sorted(p for p in (root / "nbs").rglob("*.ipynb") if not is_hidden(p))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=notebook_name)
def test_notebook(path):
    result = subprocess.run(
        [sys.executable, "-c", RUN, str(path), os.environ.get("NB_FLAGS", "")],
        cwd=root,
        text=True,
        capture_output=True,
        timeout=1200,
        env={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **os.environ, "MPLBACKEND": "Agg"},
    )
    if result.returncode:
        pytest.fail(result.stderr[-6000:] + result.stdout[-1000:], pytrace=False)


# ---- the README's examples


def examples():
    "Its blocks of Python, and the package's commands in its other blocks."
    text = (root / "README.md").read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(python|bash)\n(.*?)^```", text, re.M | re.S):
        if language == "python":
            yield [sys.executable, "-c", block]
            continue
        for line in re.split("&&|\n", block):
            words = shlex.split(line)
            if words and words[0].startswith("dithead_"):
                yield [Path(sys.executable).parent / words[0], *words[1:]]


def example_name(command: list) -> str:
    return "python" if command[0] == sys.executable else command[0].name


@pytest.mark.parametrize("command", list(examples()), ids=example_name)
def test_readme(command, tmp_path):
    (tmp_path / "data_samples").symlink_to(root / "data_samples")
    result = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=600)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / "dubbed.mp4").stat().st_size > 10_000, result.stdout


# ---- modules

MODULES = [p.stem for p in sorted((root / "dithead_lite").glob("[a-z]*.py"))]
# these don't load torch either
LIGHT = "assets", "cli", "commandline", "core", "parallel", "plots", "video", "wheels"
EXTRAS = tuple(
    "matplotlib IPython ipywidgets moviepy accelerate tensorboardX torchmetrics dlib lpips numba "
    "face_alignment scipy skimage espeakng_loader anny pyvista transformers c2pa "
    "cryptography gradio huggingface_hub".split()
)


def start(code):
    "What Python prints running `code`, and its seconds of the processor: the machine may be busy."
    before = os.times()
    result = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, check=True
    )
    after = os.times()
    user = after.children_user - before.children_user
    system = after.children_system - before.children_system
    return result.stdout, user + system


@pytest.fixture(scope="session")
def limits():
    "Seconds that an import may take: of a module without torch, and of another."
    return 10 * start("pass")[1] + 0.1, 1.5 * start("import numpy, torch")[1] + 0.2


@pytest.mark.parametrize("module", MODULES)
def test_import(module, limits):
    "A module loads nothing that comes with an extra, and takes little longer than torch alone."
    limit = limits[module not in LIGHT]
    code = f"import sys, dithead_lite.{module}; print(*{{*{EXTRAS}}} & {{*sys.modules}})"
    for _ in range(3):  # the best of three, where the first is too slow
        loaded, took = start(code)
        assert loaded == "\n"
        if took < limit:
            return
    assert took < limit, (took, limits)


def tree_of(module: str) -> ast.Module:
    return ast.parse((root / "dithead_lite" / f"{module}.py").read_text(encoding="utf-8"))


def imported(module: str) -> set[str]:
    "The modules of the package that one of them imports, anywhere in its text."
    names = set()
    for node in ast.walk(tree_of(module)):
        if not isinstance(node, ast.ImportFrom):
            continue
        path = (node.module or "").removeprefix("dithead_lite")
        if node.level == 1 or path != node.module:
            names |= {path.strip(".")} if path else {alias.name for alias in node.names}
    return names & set(MODULES)


def floors() -> dict[str, int]:
    "The floor of each module, by the table of the house in CONTRIBUTING.md."
    text = (root / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|(.*)", text, re.M)
    places = [(name, int(floor)) for floor, row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(dict(places)) == len(places), "CONTRIBUTING.md names a module on two floors"
    return dict(places)


def test_imports():
    "A module imports only from the floors below its own, so there is no circle."
    floor = floors()
    gone, missing = floor.keys() - {*MODULES}, {*MODULES} - floor.keys()
    assert not gone, f"CONTRIBUTING.md gives a floor to {gone}, but there is no such module"
    assert not missing, f"CONTRIBUTING.md gives no floor to {missing}"
    for module in MODULES:
        above = {name for name in imported(module) if floor[name] >= floor[module]}
        assert not above, f"{module} imports {above}, which should lie on a floor below it"


@pytest.mark.parametrize("module", MODULES)
def test_size(module):
    "A module has at most 300 lines and ten public names."
    names = []
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
    text = (root / "dithead_lite" / f"{module}.py").read_text(encoding="utf-8")
    length = len(text.splitlines())
    assert length <= 300 and len(names) <= 10, f"{length} lines, {len(names)} public names"


# ---- the wheel

SHIPPED = (
    "NOTICE.md",
    "people/README.md",
    "people/settings.json",
    "people/dit/model.safetensors",
    "small/README.md",
    "small/settings.json",
    "syncnet/config.json",
    "speech.safetensors",
)


def python(*words):
    words = map(str, words)
    subprocess.run([sys.executable, *words], cwd=root, check=True, capture_output=True)


def test_sdist(tmp_path):
    "The wheel made from the sdist (not from this folder) has all that is needed, and asks for few."
    python("setup.py", "-q", "egg_info", "-e", tmp_path, "sdist", "-d", tmp_path)
    options = ["-q", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    python("-m", "pip", "wheel", *options, *tmp_path.glob("*.tar.gz"))
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        files = set(wheel.namelist())
        said = {Path(n).name: wheel.read(n).decode() for n in files if is_metadata(n)}
    assert {f"dithead_lite/weights/{name}" for name in SHIPPED} <= files
    assert {f"dithead_lite/{module}.py" for module in MODULES} <= files
    assert "dithead_dub = dithead_lite.cli:dub" in said["entry_points.txt"]
    needed = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", said["METADATA"], re.M)
    assert 5 < len(needed) <= 8, needed


def is_metadata(name: str) -> bool:
    return ".dist-info/" in name and name.endswith(("METADATA", ".txt"))


class Count:
    "Counts outcomes for the closing line `N passed, N failed`."

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            self.passed += 1
        if report.failed:
            self.failed += 1


if __name__ == "__main__":
    count = Count()
    options = ["-q", "-p", "no:cacheprovider", "-n", "2", "--durations=0"]
    code = pytest.main([__file__, *options, *sys.argv[1:]], plugins=[count])
    print(f"{count.passed} passed, {count.failed} failed")
    sys.exit(code)
