"""Helpers of the tests; a conftest holds fixtures alone."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the checkout."""
