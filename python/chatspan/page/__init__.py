"""A conversation as one HTML page that needs nothing else."""
