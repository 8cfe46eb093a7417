"""Image files to pixels, pixels to ink, ink to 28x28 digit images. Knows nothing of networks or HTTP."""
