"""Renderers: a finished target, or many, as text, JSON lines, a table, a page. Each a small file."""
