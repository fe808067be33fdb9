"""The C library's allocator on a CPU: freed memory is returned to the system.

glibc keeps freed blocks of up to 32 MiB in a heap, where activations of many sizes leave holes: for
GPT-2 small, a tenth of the memory. Elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache

LARGE_BLOCK = 9_000_000
"""Bytes from which a block is mapped separately and unmapped when freed; smaller ones cost time."""
KEPT_AT_THE_END = 64_000_000
"""Free bytes that may stay at the heap's end."""
HOLES = 30_000_000
"""Free bytes inside the heap that are worth returning: they have to be requested again."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


class _Mallinfo2(ctypes.Structure):
    """`struct mallinfo2` of mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc 2.33 or newer."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype = _Mallinfo2
    return library


def map_large_blocks() -> None:
    """From now on, large blocks live outside the heap, where glibc would eventually put them."""
    library = _glibc()
    if library is not None:
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)
        library.mallopt(_M_TRIM_THRESHOLD, KEPT_AT_THE_END)


def return_holes() -> None:
    """Return the heap's holes to the system if they are large."""
    library = _glibc()
    if library is not None and library.mallinfo2().fordblks > HOLES:
        library.malloc_trim(0)
