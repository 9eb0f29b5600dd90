"""What is wrong with a relay, and how to mend it: one line per check, while it runs or not."""
