"""What is wrong with a data set: rows, fields, roles, masks and lengths; and what other libraries would train."""
