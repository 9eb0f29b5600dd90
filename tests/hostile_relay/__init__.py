"""A hostile member, a hostile relay: nobody is added, nothing is shown twice, there is a way out."""
