"""What a wheel can break: files that were left behind, modules that do not import, entry points."""

import importlib
import pkgutil
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import offhook

pytestmark = pytest.mark.unit

SOURCE = Path(__file__).parents[2] / "src" / "offhook"
INSTALLED = Path(offhook.__file__).parent


def test_every_file_of_the_source_is_installed_as_it_is() -> None:
    files = [
        path.relative_to(SOURCE)
        for path in SOURCE.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".so")
    ]
    assert len(files) > 200
    missing = [str(path) for path in files if not (INSTALLED / path).is_file()]
    assert missing == []
    changed = [str(path) for path in files if (INSTALLED / path).read_bytes() != (SOURCE / path).read_bytes()]
    assert changed == []


def test_every_module_can_be_imported_without_an_extra_of_others() -> None:
    missing: list[tuple[str, str]] = []
    for module in pkgutil.walk_packages([str(INSTALLED)], "offhook."):
        if module.name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            missing.append((module.name, error.name or ""))
    assert [(module, name) for module, name in missing if name.startswith("offhook")] == []


def test_every_entry_point_leads_somewhere() -> None:
    groups = {"offhook.voices", "offhook.speech_engines"}
    found = [point for group in groups for point in entry_points(group=group)]
    assert {point.group for point in found} == groups
    for point in found:
        assert point.load() is not None


def test_the_program_starts_and_says_which_version_it_is() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "offhook", "--version"], capture_output=True, check=True, timeout=60, text=True
    )
    assert version("offhook") in said.stdout
