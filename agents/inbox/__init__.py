"""The in-app inbox: items, their marks and pages."""
