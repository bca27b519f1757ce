"""Packaging: what is installed is what is here, and it works away from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINKED = ("envs", "agents", "benchmarks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def folders() -> dict[str, Path]:
    """Every package below toybed, the three links followed: name to folder."""
    found = {}
    for folder, inner, files in os.walk(ROOT / "toybed", followlinks=True):
        inner[:] = sorted(name for name in inner if name != "__pycache__")
        if "__init__.py" in files:
            found[".".join(Path(folder).relative_to(ROOT).parts)] = Path(folder)
    return found


def call(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command, which must succeed. The checkout is not on its path."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV", "PYTEST"))}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing left in the checkout gets in and nothing is left behind there."""
    copy, out = tmp_path_factory.mktemp("copy") / "toybed", tmp_path_factory.mktemp("wheel")
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("toybed", *LINKED):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    # Isolation downloads the build backend; it is needed only where the environment lacks one that is new enough.
    try:
        isolation = [] if int(version("setuptools").split(".")[0]) >= 80 else None
    except PackageNotFoundError:
        isolation = None
    options = ["--no-isolation"] if isolation is not None else []
    call(sys.executable, "-m", "build", "--wheel", *options, "--outdir", out, copy, cwd=out)
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a fresh environment that has the wheel, and sees only the third-party packages of this one."""
    home = tmp_path_factory.mktemp("fresh") / "venv"
    call(sys.executable, "-m", "venv", "--without-pip", home, cwd=home.parent)
    python = home / "bin" / "python"
    call(
        *(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"),
        *("install", "--quiet", "--no-index", "--no-deps", wheel),
        cwd=home.parent,
    )
    # A line of a .pth file puts a folder on the path without reading that folder's own .pth files: the packages are
    # seen, and the editable install of the checkout is not.
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "borrowed.pth").write_text("\n".join(sorted(ours)) + "\n", encoding="utf-8")
    return python


def test_the_packages_are_the_folders_that_have_an_init() -> None:
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(folders())


@pytest.mark.parametrize("name", LINKED)
def test_the_three_folders_are_linked_and_mapped(name: str) -> None:
    link = ROOT / "toybed" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"  # relative, so that a clone has it right
    assert PROJECT["tool"]["setuptools"]["package-dir"][f"toybed.{name}"] == name


@pytest.mark.parametrize("name", LINKED)
def test_a_folder_imported_under_its_own_name_says_how_to_import_it(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert f"toybed.{name}" in done.stderr


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    listed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {
        f"{package.replace('.', '/')}/{file.name}"
        for package, folder in folders().items()
        for file in folder.glob("*.py")
    }
    data = {"toybed/py.typed", "toybed/course/README.md"}
    data |= {f"toybed/llm/{name}.toml" for name in ("claims", "findings", "published")}
    data |= {f"toybed/report/{name}" for name in ("report.html.j2", "report.js", "style.css")}
    data |= {f"toybed/report/vendor/{file.name}" for file in (ROOT / "toybed/report/vendor").iterdir()}
    data |= {f"toybed/course/lessons/{file.name}" for file in (ROOT / "toybed/course/lessons").glob("*.py")}
    assert listed == modules | data
    assert {name.split("/")[0] for name in listed} == {"toybed"}


def test_the_wheel_has_its_licence_its_command_and_no_code_for_one_machine(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        [commands] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        [metadata] = [name for name in archive.namelist() if name.endswith("METADATA")]
        assert any(name.endswith("LICENSE") for name in archive.namelist())
        assert "toybed = toybed.cli:main" in archive.read(commands).decode()
        facts = archive.read(metadata).decode()
    for name in ("numpy", "scipy", "torch", "gymnasium", "matplotlib", "rich", "tyro", "jinja2"):
        assert f"Requires-Dist: {name}" in facts
    assert "# toybed" in facts  # the README, which an index shows


def test_the_installed_toybed_is_not_the_checkout(installed: Path, tmp_path: Path) -> None:
    told = call(
        installed,
        "-c",
        "import json, toybed, toybed.envs, toybed.agents, toybed.benchmarks as b;"
        "print(json.dumps([m.__file__ for m in (toybed, toybed.envs, toybed.agents, b)]))",
        cwd=tmp_path,
    )
    for file in json.loads(told):
        assert Path(file).is_relative_to(installed.parent.parent)
        assert not Path(file).is_relative_to(ROOT)


def test_the_installed_command_lists_questions_objectives_and_worlds(installed: Path, tmp_path: Path) -> None:
    tables = json.loads(call(installed.with_name("toybed"), "list", "--json", cwd=tmp_path))
    assert {row["name"] for row in tables["questions"]} >= {"entropy_law"}
    assert {row["name"] for row in tables["objectives"]} >= {"grpo", "rloo", "clip_cov"}
    assert {row["name"] for row in tables["worlds"]} >= {"answer_bandit", "chain_reach"}


def test_the_installed_command_has_the_claims_and_their_figures(installed: Path, tmp_path: Path) -> None:
    toybed = installed.with_name("toybed")
    assert json.loads(call(toybed, "show", "claim", "1", "--json", cwd=tmp_path))["figures"]
    assert len(json.loads(call(toybed, "evidence", "--json", cwd=tmp_path))["claims"]) == 11


def test_the_installed_command_writes_the_course(installed: Path, tmp_path: Path) -> None:
    toybed = installed.with_name("toybed")
    written = json.loads(call(toybed, "course", "--to", "lessons", "--json", cwd=tmp_path))["written"]
    assert len(written) == len(list((ROOT / "toybed/course/lessons").glob("*.py"))) >= 10


def test_the_installed_toybed_answers_a_question_and_writes_a_report(installed: Path, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("tiny_study.py"), tmp_path)
    command = (
        installed,
        "tiny_study.py",
        "run",
        "tiny",
        "--quick",
        "--json",
        "--workers",
        "2",
        "--report",
        "page.html",
    )
    answer = json.loads(call(*command, cwd=tmp_path))
    assert answer["study"] == "tiny"
    assert answer["n"] == 2
    assert answer["manifest"]["commit"] is None  # it is not in a repository
    assert "Does reward rise in a tiny world?" in (tmp_path / "page.html").read_text(encoding="utf-8")
