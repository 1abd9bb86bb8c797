"""The command line: arguments in, text, tables or JSON out, exit codes.

What a target said is neutralised here before it reaches a terminal, a page or a spreadsheet.
"""
