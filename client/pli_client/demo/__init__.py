"""`pli demo`: a care team's hand-over on a real relay, from a scenario in a data file."""
