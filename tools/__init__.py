"""The course's workshop: builds, runs and addresses the notebooks, which know nothing of it."""
