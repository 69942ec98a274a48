"""What the served models do, without the server around them."""
