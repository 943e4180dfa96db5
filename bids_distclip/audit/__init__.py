"""What the metadata of a dataset say, and where they are missing, slipped or contradict each other."""
