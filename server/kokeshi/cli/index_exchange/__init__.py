"""Files that collections are filled from and written to."""
