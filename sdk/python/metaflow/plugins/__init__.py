"""Exceptions of decorators, in the modules where Metaflow has them."""
