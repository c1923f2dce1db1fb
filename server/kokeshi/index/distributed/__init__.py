"""What the stores at a server have in common: keys, numbers of writes, the last ranking."""
