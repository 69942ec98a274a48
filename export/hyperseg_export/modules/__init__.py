"""Networks written plainly for export. Every module takes its dimensions from a small frozen config.

Letters in shape comments: B batch, T tokens of one call, S cache capacity, D language width, H heads,
d head width, N image tokens, Q mask queries, K conditions, F perceiver queries, C mask width, h w map size.
"""
