"""Cloud Tasks v2 on the engine: its methods, what they read and what they answer."""
