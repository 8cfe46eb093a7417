"""The pictures that models are trained and measured on."""
