"""Recorded and generated courses of links and of arrivals."""
