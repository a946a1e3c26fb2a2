"""What thinks: small models of standard architectures from one dial, variants of single parts, heads, checkpoints."""
