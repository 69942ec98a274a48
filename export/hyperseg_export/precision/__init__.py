"""Graphs in other number formats than float32."""
