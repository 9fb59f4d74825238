"""Attack grammars, their benign twins, and what expands them."""
