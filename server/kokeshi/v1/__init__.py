"""The wire contract, generated from proto/kokeshi/v1 by proto/generate.sh."""
