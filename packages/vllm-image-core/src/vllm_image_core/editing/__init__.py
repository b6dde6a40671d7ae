"""What an edit asks of a model: its rules, its size, its receipt and its cost."""
