"Each notebook of nbs/ is one pytest case, run as nbdev_test runs it, in a fresh process: directives and test flags hold. So is each example of the README."
import os, re, shlex, subprocess, sys, zipfile
from pathlib import Path
import pytest

root = Path(__file__).resolve().parent.parent
nbs = sorted(p for p in (root/'nbs').rglob('*.ipynb') if not any(o[0] in '._' for o in p.relative_to(root/'nbs').parts))
run = '''import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler) # a job in the background hears no Ctrl-C; the tests need it
from nbdev.config import get_config
from nbdev.test import test_nb
c = get_config()
ok, secs = test_nb(Path(sys.argv[1]), skip_flags=c.tst_flags.split(), force_flags=sys.argv[2].split(), basepath=c.config_path)
sys.exit(not ok)'''

@pytest.mark.parametrize('nb', nbs, ids=lambda p: p.relative_to(root/'nbs').as_posix())
def test_notebook(nb):
    env = {'OMP_NUM_THREADS': '1', 'HF_HUB_OFFLINE': '1', **os.environ, 'MPLBACKEND': 'Agg'}
    r = subprocess.run([sys.executable, '-c', run, str(nb), os.environ.get('NB_FLAGS', '')], cwd=root, text=True,
                       capture_output=True, timeout=1200, env=env)
    if r.returncode: pytest.fail(r.stderr[-6000:]+r.stdout[-1000:], pytrace=False)

def examples():
    "The README's blocks of Python, and the commands of the package in its other blocks (what stands before them installs it)."
    for lang, block in re.findall(r'^```(python|bash)\n(.*?)^```', (root/'README.md').read_text(encoding='utf-8'), re.M|re.S):
        if lang == 'python': yield [sys.executable, '-c', block]
        else: yield from ([Path(sys.executable).parent/w[0], *w[1:]] for w in map(shlex.split, re.split('&&|\n', block)) if w and w[0].startswith('dithead_'))

@pytest.mark.parametrize('command', list(examples()), ids=lambda c: 'python' if c[0] == sys.executable else c[0].name)
def test_readme(command, tmp_path):
    (tmp_path/'data_samples').symlink_to(root/'data_samples')
    r = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=600)
    assert r.returncode == 0, r.stderr[-3000:]
    assert (tmp_path/'dubbed.mp4').stat().st_size > 10_000, r.stdout

EXTRAS = ('matplotlib', 'IPython', 'ipywidgets', 'moviepy', 'accelerate', 'tensorboardX', 'torchmetrics', 'dlib', 'lpips',
          'face_alignment', 'numba', 'scipy', 'skimage', 'espeakng_loader', 'anny', 'pyvista', 'transformers')
modules = [p.stem for p in sorted((root/'dithead_lite').glob('[a-z]*.py'))]
LIGHT = 'cli', 'core', 'video' # these don't load torch either

def start(code):
    "What Python prints running `code`, and its seconds of the processor, not of the clock: the machine may be busy."
    before = os.times(); r = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True, check=True); after = os.times()
    return r.stdout, after.children_user + after.children_system - before.children_user - before.children_system

@pytest.fixture(scope='session')
def bar():
    "Seconds that modules may take: those without torch, and the others."
    return 10*start('pass')[1] + .1, 1.5*start('import numpy, torch')[1] + .2

@pytest.mark.parametrize('module', modules)
def test_import(module, bar):
    "A module loads nothing that comes with an extra or is needed by few, and takes little longer than torch alone."
    code = f'import sys, dithead_lite.{module}; print(*{{*{EXTRAS}}} & {{*sys.modules}})'
    for _ in range(3): # the best of three, where the first is too slow
        loaded, took = start(code)
        assert loaded == '\n'
        if took < bar[module not in LIGHT]: return
    assert took < bar[module not in LIGHT], (took, bar)

def test_sdist(tmp_path):
    "The wheel that is made from the sdist (not from this folder) has all that the package needs, and asks for at most eight packages."
    def run(*words): subprocess.run([sys.executable, *map(str, words)], cwd=root, check=True, capture_output=True)
    run('setup.py', '-q', 'egg_info', '-e', tmp_path, 'sdist', '-d', tmp_path)
    run('-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', tmp_path, *tmp_path.glob('*.tar.gz'))
    with zipfile.ZipFile(next(tmp_path.glob('*.whl'))) as z:
        files = z.namelist()
        said = {Path(n).name: z.read(n).decode() for n in files if '.dist-info/' in n and n.endswith(('METADATA', '.txt'))}
    assert {f'dithead_lite/weights/{n}' for n in ('NOTICE.md', 'people/README.md', 'people/settings.json', 'people/dit/model.safetensors', 'small/README.md', 'small/settings.json', 'syncnet/config.json')} <= {*files}
    assert {f'dithead_lite/{m}.py' for m in modules} <= {*files} and 'dithead_dub = dithead_lite.cli:dub' in said['entry_points.txt']
    needed = re.findall(r'^Requires-Dist: ([\w-]+)(?!.*extra ==)', said['METADATA'], re.M)
    assert 5 < len(needed) <= 8, needed

class Count:
    "Counts outcomes for the closing line `N passed, N failed`."
    def __init__(self): self.passed = self.failed = 0
    def pytest_runtest_logreport(self, report):
        if report.when == 'call' and report.passed: self.passed += 1
        if report.failed: self.failed += 1

if __name__ == '__main__':
    count = Count()
    code = pytest.main([__file__, '-q', '-p', 'no:cacheprovider', '-n', '2', '--durations=0', *sys.argv[1:]], plugins=[count])
    print(f'{count.passed} passed, {count.failed} failed')
    sys.exit(code)
