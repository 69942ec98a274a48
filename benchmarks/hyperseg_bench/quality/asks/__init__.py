"""What can be asked with the truth known: one file per measure."""
