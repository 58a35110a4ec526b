from __future__ import annotations

from ...acceptance.conftest import FAST, WHOLE, Outcome, digit, digits_run, digits_store, snnlab, workplace

__all__ = ["FAST", "WHOLE", "Outcome", "digit", "digits_run", "digits_store", "snnlab", "workplace"]
