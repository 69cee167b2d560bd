"""MTL gain, bias profile, similarity: numbers in, numbers out."""
