"""Other checkers for open proxies, each as its manual says, and what they are led to."""
