"""What every room stands on: errors, atomic files, worker processes, stages, progress, budgets, seeds and back ends.

It imports nothing of ours. Import from its modules, for example ``from recon3d.core.errors import InputError``.
"""
