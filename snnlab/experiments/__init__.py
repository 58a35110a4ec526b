"""Searches and suites: what is proposed, who trains it, statistics, tables, pages."""
