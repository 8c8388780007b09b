"""What the chapters of the book share: figures, explorers, claims."""
