"""Memory that is freed and taken again at every evaluation, kept by the process meanwhile."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD = -1  # names of settings in glibc's malloc.h
_MMAP_THRESHOLD = -3
_MEBIBYTE = 2**20


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While it lasts, glibc's malloc keeps freed blocks of up to 32 MiB, up to a gibibyte in all.

    An evaluation takes the same megabytes as the one before, and for small networks fresh pages
    from the kernel take longer than computing in them. Larger blocks go back at once, as ever.
    Afterwards malloc's thresholds are the highest that it would come to by itself, 32 and 64 MiB
    (mallopt(3), M_MMAP_THRESHOLD), whatever the environment set (`MALLOC_TRIM_THRESHOLD_`), and
    what is free beyond them is returned. Of attacks in several threads the first to end sets this
    for all. Without glibc's functions nothing is changed.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    try:
        libc.mallopt(_MMAP_THRESHOLD, 32 * _MEBIBYTE)
        libc.mallopt(_TRIM_THRESHOLD, 1024 * _MEBIBYTE)
        yield
    finally:
        libc.mallopt(_TRIM_THRESHOLD, 64 * _MEBIBYTE)
        libc.malloc_trim(ctypes.c_size_t(64 * _MEBIBYTE))
