"""The professional's and the integrator's side of Pli."""
