"""The command `jockey`: workers, and a look at what they have to do."""

from jockey.jobs._cli._root import jockey

__all__ = ["jockey"]
