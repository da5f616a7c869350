"""What is installed, and that the README says what is so."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from importlib import import_module
from importlib.metadata import metadata
from inspect import signature
from pathlib import Path

import pytest

import authcache_middleware
from authcache_middleware.observers.measures import OF_EVENTS, OF_STATS
from authcache_middleware.options import Options

BESIDE = Path(__file__).parent.parent
PACKAGE = Path(authcache_middleware.__file__).parent
README = BESIDE / "README.md"

in_a_checkout = pytest.mark.skipif(not README.exists(), reason="the README is not beside these tests")


def test_the_package_is_the_checkout_s_or_else_the_installed_one() -> None:
    if (BESIDE / "authcache_middleware").is_dir():
        assert BESIDE / "authcache_middleware" == PACKAGE
    else:
        assert PACKAGE.parent.name == "site-packages"


def test_it_is_typed_and_depends_on_three_libraries() -> None:
    assert (PACKAGE / "py.typed").exists()
    needed = [line for line in metadata("authcache-middleware").get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(re.match(r"[a-z]+(\[crypto\])?", line)[0] for line in needed) == ["msgpack", "pyjwt[crypto]", "redis"]


def table(heading: str) -> dict[str, str]:
    """The first two columns of the first table with options under a heading of the README."""
    section = README.read_text().partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    assert rows, f"no table under {heading}"
    return {name: default.strip("`") for name, default in rows}


@in_a_checkout
def test_the_readme_names_every_option_with_its_default() -> None:
    said = table("## Options")
    told_in_words = {"clock", "is_active", "load_user", "keys", "algorithms", "issuer", "audience"}
    assert list(said) == [option.name for option in fields(Options)]
    for option in fields(Options):
        assert option.default is not MISSING
        if option.name not in told_in_words:
            assert ast.literal_eval(said[option.name]) == option.default


@in_a_checkout
def test_the_readme_names_every_option_of_the_middleware() -> None:
    both, asgi = table("## What a request gets"), table("## Connections that stay open")
    for module, said in (("asgi", both | asgi), ("wsgi", both)):
        middleware = import_module(f"authcache_middleware.{module}").AuthCacheMiddleware
        options = list(signature(middleware).parameters.values())[1:]
        assert list(said) == [option.name for option in options]
        for option in options[1:]:
            assert ast.literal_eval(said[option.name]) == option.default


@in_a_checkout
def test_the_readme_names_every_measure_with_its_kind_and_labels() -> None:
    section = README.read_text().partition("\n## Observers\n")[2].partition("\n## ")[0]
    said = {}
    for names, kind, labels in re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|([^|]*)\|", section, re.MULTILINE):
        words = [re.findall(r"`(\w+)`", label) for label in labels.split(";") if label.strip()]
        for name in re.findall(r"[\w.]+", names):
            said[name] = (kind, {label: known for label, *known in words})
    measures = {*OF_EVENTS, *OF_STATS}
    assert set(said) == {measure.name for measure in measures}
    for measure in measures:
        kind, labels = said[measure.name]
        assert kind == (f"{measure.kind}, s" if measure.unit == "s" else measure.kind)
        assert list(labels) == list(measure.labels), measure.name
        for label, known in labels.items():
            assert known in ([], list(measure.labels[label])), measure.name


@in_a_checkout
def test_the_code_in_the_readme_compiles_and_its_imports_exist() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("from authcache_middleware")]
    for block in blocks:
        compile(block, "README.md", "exec")
    assert lines
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
