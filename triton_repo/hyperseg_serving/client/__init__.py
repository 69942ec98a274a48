"""Asking a server: over HTTP, gRPC, shared memory."""
