"""Crashes, refusals of the disk, hostile files: each promise of docs/reliability.md, proven.

attempts.py   break a command at one durable operation, run it again, compare
projects.py   the tiny project that is broken, and the commands that work on it
run.py        the exhaustive loops and their table (`make faults`)
"""
