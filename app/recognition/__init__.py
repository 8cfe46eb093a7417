"""The answers: a digit, a number, an explanation. Knows nothing of HTTP."""
