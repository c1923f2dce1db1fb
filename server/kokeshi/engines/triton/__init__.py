"""Engines that speak to a Triton server: one that runs elsewhere, or one that Kokeshi starts.

Nothing is imported here, so that settings can say where one is installed without gRPC.
"""
