"""What families share whose language model reads learned mask queries: modules of graphs, tensor names, layouts.

A family is built from these parts; nothing here knows one of them.
"""
