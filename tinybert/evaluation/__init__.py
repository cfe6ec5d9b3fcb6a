"""What a classifier is worth: its predictions, and how they are scored."""
