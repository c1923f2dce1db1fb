"""Graphs in processes of their own, and the channel between processes."""
