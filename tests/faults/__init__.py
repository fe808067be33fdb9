"""Crashes, refusals of the disk, hostile files: each promise of docs/reliability.md, proven.

attempts.py   break a command at one durable operation, run it again, compare
writing.py    writing itself fails: a file that may not grow, a disk that is full
planted.py    a link out of the run or a pipe in the place of each file and folder
projects.py   the tiny project that is broken, and the commands that work on it
run.py        the exhaustive loops and their table (`make faults`)
"""
