"""A page about one run or several, from plain data: one HTML file that holds all it shows."""

from jaxcnn.inspection.report.contents import Figure, Filters, Mistake, Run, Setting, Tested
from jaxcnn.inspection.report.page import mistakes_each, report_html

__all__ = [
    "Figure",
    "Filters",
    "Mistake",
    "Run",
    "Setting",
    "Tested",
    "mistakes_each",
    "report_html",
]
