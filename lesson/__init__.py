"""What serves one notebook: sources (02, 03), savings (04), sweeps (07). What several share is in helpers.py."""
