"""The README and the pages.

docs.py readme   README.md, made from nbs/index.ipynb
docs.py html     a page for each notebook in _docs/, which needs no network
docs.py check    opens those pages in Chromium and ends with an error if one has a fault
"""

import ast
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter, MarkdownExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

here = Path(__file__).resolve().parent
root = here.parent
out = root / "_docs"
index = root / "nbs" / "index.ipynb"


def in_index(path: Path) -> int:
    "Where a notebook stands in the tables of the index: the order in which to read the lab."
    place = index.read_text(encoding="utf-8").find(f"/{path.name})")
    return sys.maxsize if place < 0 else place


COURSE = sorted((root / "nbs").glob("[0-9]*.ipynb"))
LAB = sorted(sorted((root / "nbs" / "lab").glob("[a-z]*.ipynb")), key=in_index)
GROUPS = {"course": [p.stem for p in COURSE], "lab": [p.stem for p in LAB]}
NAMES = [*GROUPS["course"], *GROUPS["lab"]]


# ---- what both have in common


def tidy(path: Path) -> nbformat.NotebookNode:
    "The notebook as a reader sees it: no hidden cells, no directives."
    nb = nbformat.read(path, 4)
    cells = []
    for cell in nb.cells:
        directives = set(re.findall(r"^#\|\s*([\w-]+)", cell.source, re.M))
        if directives & {"hide", "default_exp"}:
            continue
        cell.metadata.exported = ""
        if "exports" in directives:
            cell.metadata.exported = "shown"
        elif directives & {"export", "exporti"}:
            cell.metadata.exported = "folded"
        cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M)
        cells.append(cell)
    nb.cells = cells
    return nb


# ---- readme


def readme():
    "README.md from the index: its pictures lie one folder deeper."
    nb = tidy(index)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](images/", "](nbs/images/")
            cell.source = cell.source.replace('src="images/', 'src="nbs/images/')
    text, _ = MarkdownExporter().from_notebook_node(nb)
    note = "<!-- Made from nbs/index.ipynb by .ci/docs.py: edit there, not here. -->"
    (root / "README.md").write_text(f"{note}\n\n{text.strip()}\n", encoding="utf-8")


# ---- html

INPUT = """
{%- extends 'basic/index.html.j2' %}{% block input -%}
{% set code = cell.source | highlight_code(metadata=cell.metadata) %}
{% set exported = cell.metadata.exported %}
{% if exported %}
<details class="exported"{{ ' open' if exported == 'shown' }}>
<summary>in the package</summary>{{ code }}</details>
{% else %}{{ code }}{% endif %}{% endblock %}"""

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{name} · dithead_lite</title>
<link rel="stylesheet" href="style.css"><link rel="icon" href="data:,">
{nav}<main>{body}</main>{nav}</html>"""


class Renderer(IPythonRenderer):
    "Markdown to HTML with the formulas as MathML, which browsers draw by themselves."

    def inline_math(self, body):
        return convert(html.unescape(body), display="inline")

    def block_math(self, body):
        return convert(html.unescape(body), display="block")


class Exporter(HTMLExporter):
    "The body of a page: definitions that go into the package have a frame, plumbing is folded."

    raw_template = INPUT
    exclude_input_prompt = True
    exclude_output_prompt = True

    @pass_context
    def markdown2html(self, context, source):
        path = context["resources"]["metadata"]["path"]
        renderer = Renderer(escape=False, embed_images=True, path=path, anchor_link_text="#")
        return MarkdownWithMath(renderer=renderer).render(source)


def link(text: str, own: str) -> str:
    "Links to notebooks become links to pages; names of notebooks too, but for the page's own."
    # a Colab badge is a picture on the net: words instead
    text = re.sub(r"\[!\[[^\]]*\]\([^)]*colab-badge\.svg\)\]", "[Open in Colab]", text)
    hub = r"https://github\.com/[\w/-]+?/blob/main/nbs/"
    text = re.sub(rf"\]\((?:{hub}|\.\./)?(?:lab/)?(\w+)\.ipynb", r"](\1.html", text)
    text = re.sub(r"`((?:\d\d_|lab/)[a-z_]+)`", r"\1", text)

    def linked(match):
        name = match[1] or match[0]
        return f"[{match[0]}]({name}.html)" if name in NAMES and name != own else match[0]

    # every second part is code or a link and stays as it is
    parts = re.split(r"(```.*?```|`[^`\n]*`|\[[^\]]*\]\([^)]*\))", text, flags=re.S)
    for k in range(0, len(parts), 2):
        name = r"(?<![\w/])(?:lab/([a-z_]+)|\d\d_[a-z_]+)(?![\w/.]\w)"
        parts[k] = re.sub(name, linked, parts[k])
    return "".join(parts)


def captions(source: str) -> list[str]:
    "The captions and titles that a code cell writes into its figures, computed numbers left out."
    tree = ast.parse(re.sub(r"^[!%].*", "", source, flags=re.M))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    calls.sort(key=lambda call: call.lineno)
    texts = [k.value for call in calls for k in call.keywords if k.arg == "caption"]
    for call in calls:
        if getattr(call.func, "attr", "") in ("suptitle", "supxlabel") and call.args:
            texts.append(call.args[0])
    return [words(t) for t in texts if isinstance(t, ast.JoinedStr | ast.Constant)]


def words(text: ast.JoinedStr | ast.Constant) -> str:
    "The words of a string or an f-string."
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    known = [p.value if isinstance(p, ast.Constant) else "…" for p in parts]
    return " ".join("".join(known).split())


def plain(text: str) -> str:
    "The last paragraph of a markdown cell without its mark-up."
    text = re.sub(r"<details>.*?</details>|```.*?```", "", text, flags=re.S).strip()
    return re.sub(r"[*`#$|]|\[([^\]]*)\]\([^)]*\)", r"\1", text.split("\n\n")[-1]).strip()


def describe(nb: nbformat.NotebookNode):
    "An alt text for each figure: its caption, else the paragraph before it."
    said = ""
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            said = plain(cell.source) or said
            continue
        titles = captions(cell.source)
        for output in cell.outputs:
            for mime in {"image/png", "image/jpeg"} & set(output.get("data", ())):
                output.metadata[mime] = {"alt": titles.pop(0) if titles and titles[0] else said}


def navigation(name: str) -> str:
    "Of the index: all notebooks. Of another page: the index, the page before and the page after."
    if name == "index":
        return "".join(nav(group, [anchor(n) for n in names]) for group, names in GROUPS.items())
    group = next(g for g, names in GROUPS.items() if name in names)
    names = GROUPS[group]
    at = names.index(name)
    links = [anchor("index")]
    links += [anchor(n, "prev", "← {}") for n in names[max(at - 1, 0) : at]]
    links += [anchor(n, "next", "{} →") for n in names[at + 1 : at + 2]]
    return nav(group, links)


def nav(group: str, links: list[str]) -> str:
    return f'<nav aria-label="{group}"><b>{group}</b> {" ".join(links)}</nav>'


def anchor(name: str, role: str = "", text: str = "{}") -> str:
    rel = f' rel="{role}"' if role else ""
    return f'<a href="{name}.html"{rel}>{text.format(name)}</a>'


def page(path: Path) -> str:
    "One page: navigation, the notebook's body, navigation."
    nb = tidy(path)
    describe(nb)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = link(cell.source, path.stem)
    body, _ = Exporter().from_notebook_node(nb, {"metadata": {"path": str(path.parent)}})
    return PAGE.format(name=path.stem, nav=navigation(path.stem), body=body)


def build():
    "All pages."
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    style = (here / "docs.css").read_text(encoding="utf-8")
    style += HtmlFormatter().get_style_defs(".highlight")
    (out / "style.css").write_text(style, encoding="utf-8")
    for path in (index, *COURSE, *LAB):
        (out / f"{path.stem}.html").write_text(page(path), encoding="utf-8")


# ---- check

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)


class Handler(SimpleHTTPRequestHandler):
    "The pages, the page that checks them, and a place where it reports."

    def do_GET(self):
        if self.path != "/check":
            return super().do_GET()
        script = (here / "check_docs.js").read_text(encoding="utf-8")
        pages = json.dumps(["index", *NAMES])
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(f"<script>const pages = {pages};{script}</script>".encode())

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.report = json.loads(data)
        self.send_response(204)
        self.end_headers()
        self.server.done.set()

    def log_message(self, *_):
        pass


def looked_at(browser: str) -> dict:
    "What the pages' own script reports of each page, in a browser without a network."
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=out))
    server.done = threading.Event()
    server.report = None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [browser, *FLAGS.split(), f"--user-data-dir={folder}"]
        command.append("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        command.append(f"http://127.0.0.1:{server.server_port}/check")
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        server.done.wait(600)
        process.terminate()
        process.wait()
    if server.report is None:
        sys.exit("docs: Chromium gave no report within ten minutes")
    return server.report


def check():
    "Open every page in headless Chromium, and end with an error if one has a fault."
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        sys.exit(
            "docs: no Chromium here, so the pages were not looked at. Install one (apt-get "
            "install chromium), or open _docs/index.html yourself."
        )
    report = looked_at(browser)
    for name, r in report.items():
        counts = f"{r['images']} pictures, {r['formulas']} formulas, {r['links']} links"
        print(f"docs: {name}: {counts}", *r["faults"], sep="\n  FAULT ")
    if any(r["faults"] for r in report.values()):
        sys.exit("docs: faults, see above")


if __name__ == "__main__":
    {"readme": readme, "html": build, "check": check}[sys.argv[1]]()
