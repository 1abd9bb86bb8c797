"""The advisory catalogue and the remedies per server software, in Korean and English."""
