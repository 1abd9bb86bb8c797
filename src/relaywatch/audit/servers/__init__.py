"""One module a server software: how its configuration is found, evaluated and mended."""
