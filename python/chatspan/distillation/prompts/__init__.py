"""Prompts with and without a hint, and single responses, for trainers that sample or know no more than that."""
