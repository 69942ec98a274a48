"""A bundle ready to be asked: pipeline, image and video sessions, what is kept of images."""
