"""Keys, envelopes and pseudonyms. Pure: bytes in, bytes out; nonces and fresh keys are arguments."""
