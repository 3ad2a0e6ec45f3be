# Operations.
