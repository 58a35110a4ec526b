"""Searches and suites: proposals, workers, statistics, tables, report pages."""
