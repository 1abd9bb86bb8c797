"""What probes are written in: operations, the link that frames octets, dialogues, the brief.

Knows protocols and order; knows nothing of sockets, clocks, permission or verdicts.
"""
