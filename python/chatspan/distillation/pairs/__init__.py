"""Examples and their encoded chats → which tokens of both sides the loss compares."""
