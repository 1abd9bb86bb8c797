"""One module a server: from which settings its configurations are put together, and how it is started."""
