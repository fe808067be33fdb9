"""The C library's allocator: freed blocks are returned to the system."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from jagpt.training.cpu import allocator

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told anything"
)

PROGRAM = """
import sys
sys.path.insert(0, {folder!r})  # alone: its package imports torch
import allocator

def resident():
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * 4096

if {mapped}:
    allocator.map_large_blocks()
large = [bytearray(b"x" * 20_000_000) for _ in range(10)]  # raises glibc's own bound
del large
blocks = [bytearray(b"x" * {size}) for _ in range({count})]
before = resident()
del blocks[:-1]  # the last one holds the heap's end
{then}
print(before - resident())
"""


def freed(size: int, count: int, mapped: bool, then: str = "") -> int:
    """Bytes that left a new process when all but the last of its blocks were freed."""
    folder = str(Path(allocator.__file__).parent)
    program = PROGRAM.format(folder=folder, size=size, count=count, mapped=mapped, then=then)
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return int(shown.stdout)


def test_large_blocks_leave_when_they_are_freed() -> None:
    assert freed(10_000_000, 20, mapped=False) < 50_000_000
    assert freed(10_000_000, 20, mapped=True) > 150_000_000


def test_holes_are_given_back_where_they_are_large() -> None:
    assert freed(1_000_000, 200, mapped=True) < 50_000_000
    assert freed(1_000_000, 200, mapped=True, then="allocator.return_holes()") > 150_000_000
    assert freed(1_000_000, 20, mapped=True, then="allocator.return_holes()") < 10_000_000
