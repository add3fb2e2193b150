"""What other libraries would train on the same rows."""
