"""What is to be checked and whether it may be: target lists, scopes (permission), exclusions.

Resolves no name and sends nothing; knows permission and files, and no protocol.
"""
