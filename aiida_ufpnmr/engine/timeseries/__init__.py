"""Time series of ions: correlation functions, their errors, and the decays that fit them."""
