"The yardstick: how long, how tested, how illustrated each notebook is, beside the value that is aimed at. It prints a table and never fails."
import ast, re, warnings
from pathlib import Path
from statistics import median
import nbformat

warnings.simplefilter('ignore') # a backslash in a string of a cell is none of this script's business
root = Path(__file__).resolve().parent.parent
AIMS = {'cells': '40-70', 'markdown %': '45-55', 'words': '1000-2000', 'code lines': '3-6', 'p90': '<=20', 'after prose %': '>=70', 'test cells %': '15-25',
        'test/exported': '.4-.6', 'output %': '>=50', 'function lines': '<=10', 'p90 ': '<=25', 'KB': '<=500', 'module lines': '<=250', 'names': '<=15', 'documented %': '100'}

def p90(xs): return sorted(xs)[int(.9*(len(xs)-1)+.5)] if xs else 0
def share(part, whole): return 100*len(part)/max(1, len(whole))
def lines(source): return [l for l in source.splitlines() if l.strip() and not l.startswith('#|')]
def is_test(c): return bool(re.search(r'^\s*assert |\btest_(eq|ne|close|fail|shuffled|is|sig|warns)\(', c.source, re.M))
def prose(source): return re.sub(r'```.*?```|<[^>]+>|\$\$.*?\$\$|!?\[!\[.*', ' ', source, flags=re.S)

def cells(nb):
    "What a reader sees: no hidden cells; `default_exp` isn't shown either."
    return [c for c in nb.cells if not re.search(r'^#\|\s*(hide\b|default_exp)', c.source, re.M)]

def documented(f):
    "A public name with a docstring and a type for each of its parameters."
    if isinstance(f, ast.ClassDef): return bool(ast.get_docstring(f))
    args = [a for a in f.args.posonlyargs + f.args.args + f.args.kwonlyargs if a.arg not in ('self', 'cls')]
    return bool(ast.get_docstring(f)) and all(a.annotation for a in args)

def module(path):
    "Lengths of all functions; public names (`__all__`); those of them that are documented; lines of the module."
    text = path.read_text(encoding='utf-8'); tree = ast.parse(text)
    fs = [f.end_lineno - f.lineno + 1 for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)]
    names = next((ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == '__all__'), [])
    public = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name in names]
    return fs, names, public, len(text.splitlines())

def row(path):
    "One notebook's figures, in the order of `AIMS`, and the lengths of its code cells and functions."
    nb = nbformat.read(path, 4); cs = cells(nb); code = [c for c in cs if c.cell_type == 'code']; md = [c for c in cs if c.cell_type == 'markdown']
    exported = [c for c in code if re.search(r'^#\|\s*export', c.source, re.M)]; tests = [c for c in code if is_test(c) and c not in exported]
    sizes = [len(lines(c.source)) for c in code]
    exp = re.search(r'^#\|\s*default_exp (\w+)', '\n'.join(c.source for c in nb.cells), re.M)
    fs, names, public, length = module(root/'dithead_lite'/f'{exp[1]}.py') if exp else ([], [], [], 0)
    after = [c for a, c in zip(cs, cs[1:]) if c.cell_type == 'code' and a.cell_type == 'markdown']
    n = lambda xs: sum(len(lines(c.source)) for c in xs)
    return [len(cs), share(md, cs), sum(len(prose(c.source).split()) for c in md), median(sizes or [0]), p90(sizes), share(after, code), share(tests, code),
            n(tests)/max(1, n(exported)), share([c for c in code if c.get('outputs')], code), median(fs or [0]), p90(fs), path.stat().st_size/1000,
            length, len(names), share([f for f in public if documented(f)], public)], sizes, fs

def show(name, values):
    print(f'{name:<14}' + ''.join(f'{v if isinstance(v, str) else f"{v:.2f}" if k == "test/exported" else f"{v:.0f}":>{max(len(k), len(aim))+2}}' for (k, aim), v in zip(AIMS.items(), values)))

if __name__ == '__main__':
    rows = {p.stem: row(p) for p in sorted((root/'nbs').glob('[0-9]*.ipynb'))}
    show('notebook', AIMS.keys())
    for name, (r, *_) in rows.items(): show(name, r)
    columns = list(zip(*(r for r, *_ in rows.values()))); all_sizes, all_fs = (sum((r[i] for r in rows.values()), []) for i in (1, 2))
    show('median', [median(c) for c in columns]); show('p90', [p90(c) for c in columns]); show('aim', AIMS.values())
    print(f'all code cells: {median(all_sizes):.0f} lines, p90 {p90(all_sizes)}; all functions: {median(all_fs):.0f} lines, p90 {p90(all_fs)}')
