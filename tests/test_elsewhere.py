"""The machines of others: texts are UTF-8 whatever their locale says, and need no network."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = [sys.executable, "-m", "seams"]
LOCALES = {"GBK": "zh_CN", "EUC-JP": "ja_JP", "ANSI_X3.4-1968": "C"}


@pytest.mark.slow
@pytest.mark.parametrize("charmap", LOCALES)
def test_a_notebook_runs_in_any_locale(charmap: str, tmp_path: Path) -> None:
    name = LOCALES[charmap]
    if name != "C":
        if shutil.which("localedef") is None:
            pytest.skip("this machine has no localedef to make a locale with")
        made = subprocess.run(
            ["localedef", "-c", "-i", name, "-f", charmap, str(tmp_path / f"{name}.{charmap}")],
            capture_output=True,
        )
        if not (tmp_path / f"{name}.{charmap}").is_dir():
            pytest.skip(
                f"localedef cannot make it: {made.stderr.decode(errors='replace').strip()}"
            )
        name = f"{name}.{charmap}"
    variables = os.environ | {
        "LOCPATH": str(tmp_path),
        "LC_ALL": name,
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    variables.pop("PYTHONIOENCODING", None)
    program = "import locale, sys; print(locale.getpreferredencoding(False), sys.stdout.encoding)"
    call = lambda *command: subprocess.run(
        [*command], env=variables, cwd=ROOT, capture_output=True, timeout=900
    )
    seen = call(sys.executable, "-c", program).stdout.decode().split()
    assert seen[0] == charmap, "Python sees the locale"
    for command in (
        ["run", "fig04", "--profile", "smoke", "-o", str(tmp_path / "fig04")],
        ["claims"],
        ["run", "fig04", "-p", "línes=∂"],
    ):
        done = call(*PROGRAM, *command)
        said = done.stderr.decode(errors="replace")
        assert "Traceback" not in said
        assert done.returncode == (2 if "-p" in command else 0), said
    assert (tmp_path / "fig04" / "numbers.json").is_file()


NETWORK = ["unshare", "--map-root-user", "--net"]


@pytest.mark.slow
def test_nothing_asks_the_network(tmp_path: Path) -> None:
    """At import, in tests, and while the book is built: in a namespace without any network."""
    try:
        cut = subprocess.run([*NETWORK, "true"], capture_output=True)
    except FileNotFoundError:
        pytest.skip("this machine has no `unshare`")
    if cut.returncode:
        pytest.skip(f"this machine lets nobody cut the network: {cut.stderr.decode().strip()}")
    program = """
import importlib, pkgutil, socket, seams
for info in pkgutil.walk_packages(seams.__path__, "seams."):
    if info.name != "seams.__main__":
        importlib.import_module(info.name)
try:
    socket.create_connection(("192.0.2.1", 9), timeout=5)
except OSError as error:
    print(error.errno)
"""
    tests = ["-q", "-p", "no:cacheprovider", "tests/test_metrics.py", "tests/test_data.py"]
    for command, expected in (
        (["-c", program], str(errno.ENETUNREACH)),
        (["-m", "pytest", *tests], " passed"),
        (["-m", "seams", "book", "--out", str(tmp_path / "book")], "Book: open"),
    ):
        done = subprocess.run(
            [*NETWORK, sys.executable, *command], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0 and expected in done.stdout, done.stdout + done.stderr
