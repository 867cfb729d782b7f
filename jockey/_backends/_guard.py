"""What keeps a script that starts an executor whenever it is imported from starting ever more processes."""

from __future__ import annotations

from jockey._backends._worker import is_preparing_main
from jockey._errors import RegistrationError


def check_not_preparing_main() -> None:
    """
    Refuse to go on in a worker that is just importing the script of its parent.

    Raises:
        RegistrationError: It is so: the script has no guard, and each worker would start workers of its own.
    """
    if is_preparing_main():
        raise RegistrationError(
            "an executor must not start while a script is imported, and a worker process imports the script again; "
            'put what starts it under `if __name__ == "__main__":`'
        )
