"""Plain networks: image in, logits out, features on request."""
