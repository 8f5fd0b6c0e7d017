"""The Label view: which frames people answer about, and their answers."""
