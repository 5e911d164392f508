"""Audio: recordings are probed and decoded, microphones are recorded, and speech is told from silence."""
