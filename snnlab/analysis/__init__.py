"""Diagnosis of a network that does not learn: layer statistics on one batch, findings, and fixes that were tried."""

from __future__ import annotations
