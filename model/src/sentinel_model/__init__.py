"""Weights of an encoder, for `sentinel`, which checks and reads the files beside this one. There is no code here."""
