"""The relay: carries ciphertext, keeps order, forgets on time."""
