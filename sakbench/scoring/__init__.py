"""Scores of predictions that any other code saved: folders of PNG files in, numbers out."""
