"""Generated configurations: what the audit says of each, against what the running server does for our own check."""
