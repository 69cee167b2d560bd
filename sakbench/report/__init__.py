"""What a person sees: tables in the terminal, plain lines on a pipe, JSON."""
