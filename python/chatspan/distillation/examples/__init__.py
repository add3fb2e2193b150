"""Rows and traces → examples: a student's conversation, a teacher's, and what the loss is on."""
