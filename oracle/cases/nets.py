"""Golden cases of small nets, and of what a net does with its layers."""
