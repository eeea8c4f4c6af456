"""What layers compute with: functions of tensors, each with its own gradient."""
