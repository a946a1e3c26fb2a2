"""Terminal tasks from templates: drafts, the checker that runs with the tests, and the proof that they are sound."""
