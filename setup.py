"Reads every setting from settings.ini; edit there, not here."

import shlex
from configparser import ConfigParser
from pathlib import Path

import setuptools

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]
name, end = cfg["lib_path"], "_requirements"

setuptools.setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    author=cfg["author"],
    author_email=cfg["author_email"],
    keywords=cfg["keywords"],
    url=cfg["git_url"],
    license="Apache-2.0",
    license_files=["LICENSE", f"{name}/weights/NOTICE.md"],
    python_requires=">=" + cfg["min_python"],
    packages=setuptools.find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["weights/**/*"]},
    install_requires=shlex.split(cfg["requirements"]),
    extras_require={k.removesuffix(end): shlex.split(cfg[k]) for k in cfg if k.endswith(end)},
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    entry_points={
        "nbdev": [f"{name}={name}._modidx:d"],
        "console_scripts": shlex.split(cfg["console_scripts"]),
    },
    zip_safe=False,
)
