"""What models weigh: parameters and multiply-accumulate operations (MACs), under named conventions."""
