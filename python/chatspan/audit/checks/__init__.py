"""What is found in one row: its messages, the keywords and the encoding come in, findings go out.

Each check is a function that yields :class:`chatspan.audit.findings.Finding`. Imports nothing else of the audit.
"""
