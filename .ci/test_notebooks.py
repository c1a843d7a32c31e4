"Each notebook of nbs/ is one pytest case, run as nbdev_test runs it, in a fresh process: directives and test flags hold."
import os, subprocess, sys
from pathlib import Path
import pytest

root = Path(__file__).resolve().parent.parent
nbs = sorted(p for p in (root/'nbs').rglob('*.ipynb') if not any(o[0] in '._' for o in p.relative_to(root/'nbs').parts))
run = '''import sys
from pathlib import Path
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
