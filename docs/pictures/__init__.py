"""The pictures of docs/, each drawn from a real run: `python -m pictures`, in docs/."""
