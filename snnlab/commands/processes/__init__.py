"""The processes of one training: who starts them, what each does, and how they end together."""
