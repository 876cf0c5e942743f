"""A page about one run or several, from plain data: one HTML file that holds all it shows."""

from jaxcnn.inspection.report.contents import Answered, Figure, Filters, Mistake, Run, Setting
from jaxcnn.inspection.report.page import mistakes_each, report_html

__all__ = [
    "Answered",
    "Figure",
    "Filters",
    "Mistake",
    "Run",
    "Setting",
    "mistakes_each",
    "report_html",
]
