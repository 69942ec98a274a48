"""Long work: steps that survive a kill, processes, progress."""
