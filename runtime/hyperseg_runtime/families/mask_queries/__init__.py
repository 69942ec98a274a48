"""What families share whose language model reads learned mask queries and whose mask decoder turns those into masks.

A family is built from these parts; nothing here knows one of them.
"""
