"""The nouns: frozen values, enumerations and errors; the standard library and nothing of ours.

No I/O, no clock, no chance: whatever is read from a wire or drawn at random comes in as an argument.
"""
