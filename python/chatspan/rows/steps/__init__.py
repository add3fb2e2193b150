"""What a reader does with a row, one step a module, in the order of :mod:`chatspan.rows.reader`."""
