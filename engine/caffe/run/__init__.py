"""How a net runs: its wiring, and the executor that chooses how a pass is computed."""
