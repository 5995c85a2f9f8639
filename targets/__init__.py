"""Turn a spike graph into something that runs elsewhere, and prove that it computes the same."""
