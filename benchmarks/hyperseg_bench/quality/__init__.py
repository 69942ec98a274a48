"""How right results are: data sets with known answers, and the metrics of the field."""
