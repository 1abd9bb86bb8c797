"""relaywatch finds, proves, fixes and tracks open mail relays and open proxies."""

__version__ = "0.1.0.dev0"
