"""Our receiving end: accepts from anyone, and can do nothing but note a token.

It never sends mail, never connects out, never runs what it reads. Knows tokens by the key alone: it
shares no state with the checker.
"""
