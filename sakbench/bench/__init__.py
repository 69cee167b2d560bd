"""How fast the models and their training are, beside a plain formulation of the paper and a bare ViT."""
