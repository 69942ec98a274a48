"""A gateway in front of the server: Envoy, configured from the same contract as the repository."""
