"Reads every setting from settings.ini; edit there, not here."
from configparser import ConfigParser
from pathlib import Path
import shlex, setuptools

here = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(here/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']

setuptools.setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'],
    author=cfg['author'], author_email=cfg['author_email'], keywords=cfg['keywords'], url=cfg['git_url'],
    license='Apache-2.0', python_requires='>='+cfg['min_python'],
    packages=setuptools.find_packages(include=[cfg['lib_path'], cfg['lib_path']+'.*']),
    install_requires=shlex.split(cfg.get('requirements','')),
    extras_require={k: shlex.split(cfg[f'{k}_requirements']) for k in ('dev', 'speakers', 'metrics')},
    package_data={cfg['lib_path']: ['weights/**/*']},
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    entry_points={'nbdev': [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
                  'console_scripts': shlex.split(cfg['console_scripts'])}, zip_safe=False)
