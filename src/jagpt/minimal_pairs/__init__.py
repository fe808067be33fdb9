"""Minimal pairs of Japanese sentences, written for this project (CC0)."""
