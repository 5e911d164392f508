"""What a sound file is, and how its samples are read."""
