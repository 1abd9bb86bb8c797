"""Evidence to verdict and reasons: pure, and indifferent to the order in which the evidence came.

Knows facts, attempts and arrivals; knows nothing of how they were gathered.
"""
