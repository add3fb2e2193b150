"""Data sets of conversations as they lie around: files, folders, hub names; row by row."""
