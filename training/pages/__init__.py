"""Makes pages of handwritten digits whose content is known: to measure the imaging code, and to train on."""
