"""The server's process on this machine: finding, starting, stopping it."""
