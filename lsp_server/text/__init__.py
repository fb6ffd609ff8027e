"""What a document is: its text, its tree, its language."""
