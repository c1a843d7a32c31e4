"`docs.py readme`: README.md from nbs/index.ipynb. `docs.py html`: a page per notebook in _docs/, offline, without quarto."
import re, sys, nbformat
from pathlib import Path
from nbconvert import HTMLExporter, MarkdownExporter

root = Path(__file__).resolve().parent.parent

def tidy(path, readme=False):
    "The notebook as a reader sees it: no hidden cells, no directives; in the README no code cells but their results."
    nb, cells = nbformat.read(path, 4), []
    for c in nb.cells:
        directives = set(re.findall(r'^#\|\s*([\w-]+)', c.source, re.M))
        if 'hide' in directives or 'default_exp' in directives: continue
        c.source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M)
        if readme and c.cell_type == 'markdown': c.source = c.source.replace('](images/', '](nbs/images/').replace('src="images/', 'src="nbs/images/')
        cells.append(c)
    nb.cells = cells
    return nb

def readme():
    text, _ = MarkdownExporter().from_notebook_node(tidy(root/'nbs'/'index.ipynb', readme=True))
    (root/'README.md').write_text('<!-- Made from nbs/index.ipynb by .ci/docs.py: edit there, not here. -->\n\n'+text.strip()+'\n', encoding='utf-8')

def html():
    out = root/'_docs'; out.mkdir(exist_ok=True)
    for p in sorted((root/'nbs').glob('*.ipynb')):
        page, _ = HTMLExporter(template_name='lab', embed_images=True).from_notebook_node(tidy(p), {'metadata': {'path': str(p.parent)}})
        (out/f'{p.stem}.html').write_text(page, encoding='utf-8')

if __name__ == '__main__': {'readme': readme, 'html': html}[sys.argv[1]]()
