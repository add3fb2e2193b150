"""Conversations → encoded chats: with provenance, or by prefix delta where a tokenizer returns no offsets."""
