"""Networks that no library has, and the heads that every method shares.

These modules import torch at the top: import them only from inside a method's `build`.
"""
