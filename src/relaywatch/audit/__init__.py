"""The audit: configurations read, evaluated for a stranger, and mended.

`audit` is the library's entry: it takes paths and gives a report for each server that is found there.
"""

from .auditing import audit

__all__ = ["audit"]
