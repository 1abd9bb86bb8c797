"""Octets to values and back, a file per protocol; no dialogue, no I/O, no state but a parser's."""
