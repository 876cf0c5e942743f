"""Commands begin anew in large pages, and nothing else does."""

import os
import subprocess
import sys

import pytest

from experiments import large_pages
from experiments.large_pages import start_in_large_pages, tunables


@pytest.fixture
def begun(monkeypatch, tmp_path):
    """A command that begins on a Linux that gives large pages to those who ask; what it starts."""
    enabled = tmp_path / "enabled"
    enabled.write_text("always [madvise] never\n")
    started = []
    monkeypatch.setattr(large_pages, "_ENABLED", enabled)
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.benchmark", "--quiet"])
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return started


def test_a_command_begins_anew_with_the_same_words(begun, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")
    start_in_large_pages()
    [(program, words, environment)] = begun
    assert program == sys.executable
    assert words == [sys.executable, "-m", "experiments.benchmark", "--quiet"]
    asked = "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"
    assert environment == {**os.environ, "GLIBC_TUNABLES": asked}


@pytest.mark.parametrize("chosen", ["glibc.malloc.hugetlb=0", "glibc.malloc.hugetlb=1"])
def test_whoever_has_chosen_is_left_alone(begun, monkeypatch, chosen):
    monkeypatch.setenv("GLIBC_TUNABLES", chosen)
    start_in_large_pages()
    assert not begun


def test_whoever_imports_the_package_is_left_alone(begun, monkeypatch):
    for program in ("", "-c", "/usr/bin/pytest"):
        monkeypatch.setattr(sys, "argv", [program])
        start_in_large_pages()
    assert not begun


@pytest.mark.parametrize("library", ["glibc 2.34", "musl 1.2", "", None])
def test_another_library_is_left_alone(begun, monkeypatch, library):
    monkeypatch.setattr(os, "confstr", lambda name: library)
    start_in_large_pages()
    assert not begun


@pytest.mark.parametrize("enabled", ["[always] madvise never", "always madvise [never]", None])
def test_another_linux_is_left_alone(begun, enabled):
    if enabled is None:
        large_pages._ENABLED.unlink()
    else:
        large_pages._ENABLED.write_text(enabled)
    start_in_large_pages()
    assert not begun


@pytest.mark.parametrize(
    ("here", "wanted", "expected"),
    [
        ("", True, "glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=1", False, "glibc.malloc.hugetlb=0"),
        ("a=1:glibc.malloc.hugetlb=2:b=2", True, "a=1:b=2:glibc.malloc.hugetlb=1"),
    ],
)
def test_the_tunable_is_added_or_replaced(monkeypatch, here, wanted, expected):
    monkeypatch.setenv("GLIBC_TUNABLES", here)
    assert tunables(large_pages=wanted) == {"GLIBC_TUNABLES": expected}


def test_a_process_is_replaced_for_real():
    """By whatever this machine has: the words after it are what the new process does."""
    told = "import os; print(os.getpid(), os.environ.get('GLIBC_TUNABLES'))"
    begins = (
        "import os, sys; print(os.getpid(), flush=True); sys.argv = ['-m']; "
        f"sys.orig_argv = ['python', '-c', {told!r}]; import experiments"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    ran = subprocess.run(
        [sys.executable, "-c", begins],
        env={**environment, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    first, *anew = ran.stdout.splitlines()
    expected = [f"{first} glibc.malloc.hugetlb=1"] if large_pages._of_use() else []
    assert anew == expected
