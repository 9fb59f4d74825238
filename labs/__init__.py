"""Sentinel's Blue Team labs. `sentinel lab list` shows them; they are part of the checkout, not of the wheel."""
