"""Many agents evolve one artifact, and every official score was measured where none of them can reach."""
