"""What runs the graphs of a model repository, and how a repository's configuration is read."""
