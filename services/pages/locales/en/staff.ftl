# Checkpoints and gates.
