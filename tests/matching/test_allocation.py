"""What is freed while an attack runs is not handed back to the system."""

import ctypes
import platform
import resource
import subprocess
import sys

import pytest
import torch

from dlgutils.matching.allocation import freed_memory_kept

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc only")

TRIM_THRESHOLD = -1  # M_TRIM_THRESHOLD of malloc.h
MEBIBYTE = 2**20
PAGES = 80 * MEBIBYTE // resource.getpagesize()  # of what a pass takes


def take_and_free() -> None:
    _ = [torch.ones(5 * MEBIBYTE) for _ in range(4)]  # 20 MiB each


def fresh_pages() -> int:
    """How many pages the system gives for one more pass, once it is clear where all fits."""
    for _ in range(4):
        take_and_free()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    take_and_free()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


IN_A_NEW_PROCESS = """
import ctypes
from dlgutils.matching.allocation import freed_memory_kept
from tests.matching.test_allocation import fresh_pages
for name in (-1, -3):  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, where malloc begins
    ctypes.CDLL(None).mallopt(name, 128 * 1024)
before = fresh_pages()
with freed_memory_kept():
    print(before, fresh_pages())
"""


def test_memory_is_taken_from_the_system_once():
    """In a process of its own, since the thresholds of this one may have been moved before."""
    command = [sys.executable, "-c", IN_A_NEW_PROCESS]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    before, kept = map(int, ended.stdout.split())
    assert before > 0.9 * PAGES
    assert kept < 0.1 * PAGES


class Libc:
    """Notes the last setting of each threshold."""

    def __init__(self):
        self.settings = {}

    def mallopt(self, name: int, value: int) -> None:
        self.settings[name] = value

    def malloc_trim(self, kept: int) -> None:
        self.trimmed_to = kept.value


def test_a_gibibyte_is_kept(monkeypatch):
    libc = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    with freed_memory_kept():
        assert libc.settings[TRIM_THRESHOLD] == 1024 * MEBIBYTE


def test_memory_goes_back_even_after_an_error(monkeypatch):
    libc = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError
    assert libc.settings[TRIM_THRESHOLD] == libc.trimmed_to == 64 * MEBIBYTE


class OnlyMallopt:
    """A C library with a mallopt of its own, such as Android's, that must not be called."""

    mallopt = None


@pytest.mark.parametrize("libc", [object(), OnlyMallopt()])
def test_other_libraries_are_left_alone(monkeypatch, libc):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    with freed_memory_kept():
        take_and_free()
