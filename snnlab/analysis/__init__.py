"""Why a network is silent, saturated or deaf to its gradient: measured on one batch, named, and cured by trying."""

from __future__ import annotations
