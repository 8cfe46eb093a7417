"""What goes into the image, and how it is told: the locks, the audit of what they name, the image's list of parts."""
