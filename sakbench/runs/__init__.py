"""What a run is, which runs a table needs, and running them."""
