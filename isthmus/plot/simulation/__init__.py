"""Simulations as pictures and as one HTML page: pure Python, no drawing library. It simulates nothing."""

from isthmus.plot.simulation.front import pareto_svg
from isthmus.plot.simulation.pictures import write_fronts, write_plots
from isthmus.plot.simulation.report import html_page

__all__ = ["html_page", "pareto_svg", "write_fronts", "write_plots"]
