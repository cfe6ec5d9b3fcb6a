"""What a classifier is worth: its predictions and scores, and how long it takes."""
