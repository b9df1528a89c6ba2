"""Sets and checkpoints on the Hugging Face Hub: publish them, fetch them, read them from its cache."""
