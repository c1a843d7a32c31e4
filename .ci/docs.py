"`docs.py readme`: README.md from nbs/index.ipynb. `docs.py html`: a page per notebook in _docs/, which needs no network. `docs.py check`: those pages in Chromium."
import ast, html, json, re, shutil, subprocess, sys, tempfile, threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter, MarkdownExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

root = Path(__file__).resolve().parent.parent
out, here, pages = root/'_docs', root/'.ci', [*sorted((root/'nbs').glob('*.ipynb')), *sorted((root/'nbs'/'lab').glob('*.ipynb'))]
names = [p.stem for p in pages if p.stem != 'index']

def tidy(path, readme=False):
    "The notebook as a reader sees it: no hidden cells, no directives; in the README no code cells but their results."
    nb, cells = nbformat.read(path, 4), []
    for c in nb.cells:
        directives = set(re.findall(r'^#\|\s*([\w-]+)', c.source, re.M))
        if 'hide' in directives or 'default_exp' in directives: continue
        c.metadata.exported = 'shown' if 'exports' in directives else 'folded' if directives & {'export', 'exporti'} else ''
        c.source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M)
        if readme and c.cell_type == 'markdown': c.source = c.source.replace('](images/', '](nbs/images/').replace('src="images/', 'src="nbs/images/')
        cells.append(c)
    nb.cells = cells
    return nb

def readme():
    text, _ = MarkdownExporter().from_notebook_node(tidy(root/'nbs'/'index.ipynb', readme=True))
    (root/'README.md').write_text('<!-- Made from nbs/index.ipynb by .ci/docs.py: edit there, not here. -->\n\n'+text.strip()+'\n', encoding='utf-8')

# ---- html

class Renderer(IPythonRenderer):
    "Markdown to HTML with the formulas as MathML, which browsers draw by themselves."
    def inline_math(self, body, display='inline'):
        from latex2mathml.converter import convert
        return convert(html.unescape(body), display=display)
    def block_math(self, body): return self.inline_math(body, 'block')

class Exporter(HTMLExporter):
    "The body of a page: definitions that go into the package have a frame, plumbing is folded."
    raw_template = '''{% extends 'basic/index.html.j2' %}{% block input %}{% set e, code = cell.metadata.exported, cell.source | highlight_code(metadata=cell.metadata) %}
{% if e %}<details class="exported"{{ ' open' if e == 'shown' }}><summary>in the package</summary>{{ code }}</details>{% else %}{{ code }}{% endif %}{% endblock %}'''
    exclude_input_prompt = exclude_output_prompt = True

    @pass_context
    def markdown2html(self, context, source):
        path = context['resources']['metadata']['path']
        return MarkdownWithMath(renderer=Renderer(escape=False, embed_images=True, path=path, anchor_link_text='#')).render(source)

def link(text, own):
    "Links to notebooks become links to pages, names of notebooks too; the Colab badge, a picture on the net, becomes words."
    text = re.sub(r'\[!\[[^\]]*\]\([^)]*colab-badge\.svg\)\]', '[Open in Colab]', text)
    text = re.sub(r'\]\((?:https://github\.com/[\w/-]+?/blob/main/nbs/|\.\./)?(?:lab/)?(\w+)\.ipynb', r'](\1.html', text)
    text = re.sub(r'`((?:\d\d_|lab/)[a-z_]+)`', r'\1', text)
    parts = re.split(r'(```.*?```|`[^`\n]*`|\[[^\]]*\]\([^)]*\))', text, flags=re.S)
    parts[::2] = [re.sub(r'(?<![\w/])(?:lab/([a-z_]+)|\d\d_[a-z_]+)(?![\w/.]\w)', lambda m: f'[{m[0]}]({m[1] or m[0]}.html)' if (m[1] or m[0]) in names and (m[1] or m[0]) != own else m[0], p) for p in parts[::2]]
    return ''.join(parts)

def captions(source):
    "The captions and figure titles that a code cell writes into its figures, computed numbers left out."
    calls = sorted((n for n in ast.walk(ast.parse(re.sub(r'^[!%].*', '', source, flags=re.M))) if isinstance(n, ast.Call)), key=lambda n: n.lineno)
    texts = [k.value for n in calls for k in n.keywords if k.arg == 'caption'] + [n.args[0] for n in calls if getattr(n.func, 'attr', '') in ('suptitle', 'supxlabel') and n.args]
    parts = [t.values if isinstance(t, ast.JoinedStr) else [t] for t in texts if isinstance(t, (ast.JoinedStr, ast.Constant))]
    return [' '.join(''.join(p.value if isinstance(p, ast.Constant) else '…' for p in ps).split()) for ps in parts]

def plain(text):
    "The last paragraph of a markdown cell without its mark-up."
    text = re.sub(r'<details>.*?</details>|```.*?```', '', text, flags=re.S).strip()
    return re.sub(r'[*`#$|]|\[([^\]]*)\]\([^)]*\)', r'\1', text.split('\n\n')[-1]).strip()

def describe(nb):
    "An alt text for each figure: its caption, else the paragraph before it."
    said = ''
    for c in nb.cells:
        if c.cell_type == 'markdown': said = plain(c.source) or said; continue
        caps = captions(c.source)
        for o in c.outputs:
            for mime in set(o.get('data', ())) & {'image/png', 'image/jpeg'}: o.metadata[mime] = {'alt': caps.pop(0) if caps and caps[0] else said}

def page(path):
    "One page: navigation, the notebook's body, navigation."
    nb, at = tidy(path), names.index(path.stem) if path.stem in names else None
    describe(nb)
    for c in nb.cells:
        if c.cell_type == 'markdown': c.source = link(c.source, path.stem)
    body, _ = Exporter().from_notebook_node(nb, {'metadata': {'path': str(path.parent)}})
    near = names if at is None else ['index', *names[max(at-1, 0):at], *names[at+1:at+2]]
    nav = '<nav>' + ' '.join(f'<a href="{n}.html">{n}</a>' for n in near) + '</nav>'
    return f'''<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{path.stem} · dithead_lite</title><link rel="stylesheet" href="style.css"><link rel="icon" href="data:,">
{nav}<main>{body}</main>{nav}</html>'''

def build():
    shutil.rmtree(out, ignore_errors=True); out.mkdir()
    (out/'style.css').write_text((here/'docs.css').read_text(encoding='utf-8') + HtmlFormatter().get_style_defs('.highlight'), encoding='utf-8')
    for p in pages: (out/f'{p.stem}.html').write_text(page(p), encoding='utf-8')

# ---- check

class Handler(SimpleHTTPRequestHandler):
    "The pages, the page that checks them, and a place where it reports."
    def do_GET(self):
        if self.path != '/check': return super().do_GET()
        body = ('<script>const pages = ' + json.dumps(['index', *names]) + ';' + (here/'check_docs.js').read_text(encoding='utf-8') + '</script>').encode()
        self.send_response(200); self.send_header('Content-Type', 'text/html; charset=utf-8'); self.end_headers(); self.wfile.write(body)
    def do_POST(self):
        self.server.report = json.loads(self.rfile.read(int(self.headers['Content-Length']))); self.send_response(204); self.end_headers(); self.server.done.set()
    def log_message(self, *_): pass

def check():
    "Open every page in headless Chromium, without a network, and end with an error if one has a fault."
    browser = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'))), None)
    if not browser: sys.exit('docs: no Chromium here, so the pages were not looked at. Install one (apt-get install chromium), or open _docs/index.html yourself.')
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=out)); server.done, server.report = threading.Event(), None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as d:
        p = subprocess.Popen([browser, *flags, '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', f'--user-data-dir={d}',
                              f'http://127.0.0.1:{server.server_port}/check'], stderr=subprocess.DEVNULL)
        server.done.wait(240); p.terminate(); p.wait()
    if server.report is None: sys.exit('docs: Chromium gave no report within four minutes')
    for name, r in server.report.items(): print(f'docs: {name}: {r["images"]} pictures, {r["formulas"]} formulas, {r["links"]} links' + ''.join(f'\n  FAULT {f}' for f in r['faults']))
    if any(r['faults'] for r in server.report.values()): sys.exit('docs: faults, see above')

if __name__ == '__main__': {'readme': readme, 'html': build, 'check': check}[sys.argv[1]]()
